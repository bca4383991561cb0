//! How a source file of each language is built and run, after MultiPL-E's evaluation scripts, and what of it
//! is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Build, Limits, Outcome, Program, Runner};

/// What compilers may use: more than programs, and the same for all.
const BUILD: Limits = Limits {
    wall: Duration::from_mins(1),
    cpu: Duration::from_mins(2),
    memory_bytes: 4 << 30,
    processes: 256,
    output_bytes: 1 << 20,
    scratch_bytes: 512 << 20,
};

/// Directories that the sandbox shows to every program.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store"];

/// How source files of one language are built and run.
///
/// In commands, `{name}` is the path of that program, `{heap_mb}` half the memory that the run may use, and
/// `{classpath}` the directory of the program and what the caller's `CLASSPATH` names by full paths.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Name of the language's compiler or interpreter.
    pub name: &'static str,
    /// Short names of the language, as in MultiPL-E.
    pub languages: &'static [&'static str],
    /// Name of the source file.
    pub file: &'static str,
    /// Programs that have to be installed, that which tells its version first.
    pub programs: &'static [&'static str],
    /// Arguments that make it tell.
    pub version: &'static [&'static str],
    /// Arguments that make it print the directory it is installed in, where its path may be another's.
    pub home: Option<&'static [&'static str]>,
    /// Compiler's command, for compiled languages.
    pub build: Option<&'static [&'static str]>,
    /// Command that exits with 0 where the source file parses, and does not run it; for languages without compiler.
    pub check: Option<&'static [&'static str]>,
    /// Program's command.
    pub run: &'static [&'static str],
    /// Environment.
    pub env: &'static [(&'static str, &'static str)],
    /// What a failed program may write to standard error, though it exits with 0.
    pub failures: &'static [&'static str],
    /// A program that writes `ok`, and needs the libraries that MultiPL-E's tests need.
    pub hello: &'static str,
}

/// Without the parts that few languages have.
const PLAIN: Recipe = Recipe {
    name: "",
    languages: &[],
    file: "",
    programs: &[],
    version: &["--version"],
    home: None,
    build: None,
    check: None,
    run: &[],
    env: &[],
    failures: &[],
    hello: "",
};

/// Every language there is a recipe for.
pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "python3",
        languages: &["py", "python"],
        file: "main.py",
        programs: &["python3"],
        home: Some(&["-c", "import sys; print(sys.base_prefix)"]),
        run: &["{python3}", "main.py"],
        env: &[("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONHASHSEED", "0"), ("PYTHONIOENCODING", "utf-8")],
        hello: "print('ok')\n",
        ..PLAIN
    },
    Recipe {
        name: "node",
        languages: &["js", "javascript"],
        file: "main.js",
        programs: &["node"],
        home: Some(&["-p", "require('path').dirname(require('path').dirname(process.execPath))"]),
        check: Some(&["{node}", "--check", "main.js"]),
        run: &["{node}", "main.js"],
        hello: "require('assert').equal(1, 1);\nconsole.log('ok');\n",
        ..PLAIN
    },
    Recipe {
        name: "tsc",
        languages: &["ts", "typescript"],
        file: "main.ts",
        programs: &["tsc", "node"],
        build: Some(&["{node}", "{tsc}", "--target", "esnext", "main.ts"]),
        run: &["{node}", "main.js"],
        hello: "const word: string = 'ok';\nconsole.log(word);\n",
        ..PLAIN
    },
    Recipe {
        name: "bash",
        languages: &["sh", "bash"],
        file: "main.sh",
        programs: &["bash"],
        check: Some(&["{bash}", "-n", "main.sh"]),
        run: &["{bash}", "main.sh"],
        hello: "echo ok\n",
        ..PLAIN
    },
    Recipe {
        name: "ruby",
        languages: &["rb", "ruby"],
        file: "main.rb",
        programs: &["ruby"],
        home: Some(&["-e", "require 'rbconfig'; puts RbConfig::CONFIG['prefix']"]),
        check: Some(&["{ruby}", "-c", "main.rb"]),
        run: &["{ruby}", "main.rb"],
        hello: "require 'test/unit'\nputs 'ok'\n",
        ..PLAIN
    },
    Recipe {
        name: "perl",
        languages: &["pl", "perl"],
        file: "main.pl",
        programs: &["perl"],
        version: &["-e", "print \"perl $^V\""],
        run: &["{perl}", "main.pl"],
        hello: "use Test::Deep::NoTest; print \"ok\\n\";\n",
        ..PLAIN
    },
    Recipe {
        name: "php",
        languages: &["php"],
        file: "main.php",
        programs: &["php"],
        run: &["{php}", "main.php"],
        hello: "<?php echo \"ok\\n\";\n",
        ..PLAIN
    },
    Recipe {
        name: "lua",
        languages: &["lua"],
        file: "main.lua",
        programs: &["lua"],
        version: &["-v"],
        run: &["{lua}", "main.lua"],
        hello: "print('ok')\n",
        ..PLAIN
    },
    Recipe {
        name: "Rscript",
        languages: &["r"],
        file: "main.r",
        programs: &["Rscript"],
        run: &["{Rscript}", "main.r"],
        env: &[("OPENBLAS_NUM_THREADS", "1")],
        hello: "cat('ok\\n')\n",
        ..PLAIN
    },
    Recipe {
        name: "julia",
        languages: &["jl", "julia"],
        file: "main.jl",
        programs: &["julia"],
        home: Some(&["-e", "print(dirname(Sys.BINDIR))"]),
        check: Some(&[
            "{julia}",
            "--startup-file=no",
            "-e",
            "bad(part) = part isa Expr && part.head in (:error, :incomplete); \
             exit(any(bad, Meta.parseall(read(\"main.jl\", String)).args) ? 1 : 0)",
        ]),
        run: &["{julia}", "--startup-file=no", "main.jl"],
        env: &[("JULIA_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")],
        hello: "using Test\nprintln(\"ok\")\n",
        ..PLAIN
    },
    Recipe {
        name: "racket",
        languages: &["rkt", "racket"],
        file: "main.rkt",
        programs: &["racket"],
        run: &["{racket}", "main.rkt"],
        hello: "#lang racket\n(displayln \"ok\")\n",
        ..PLAIN
    },
    Recipe {
        name: "runghc",
        languages: &["hs"],
        file: "main.hs",
        programs: &["runghc"],
        run: &["{runghc}", "main.hs"],
        hello: "main :: IO ()\nmain = putStrLn \"ok\"\n",
        ..PLAIN
    },
    Recipe {
        name: "ocaml",
        languages: &["ml"],
        file: "main.ml",
        programs: &["ocaml"],
        version: &["-version"],
        run: &["{ocaml}", "main.ml"],
        hello: "let () = print_endline \"ok\"\n",
        ..PLAIN
    },
    Recipe {
        name: "elixir",
        languages: &["elixir", "exs"],
        file: "main.exs",
        programs: &["elixir"],
        run: &["{elixir}", "main.exs"],
        hello: "IO.puts(\"ok\")\n",
        ..PLAIN
    },
    Recipe {
        name: "dart",
        languages: &["dart"],
        file: "main.dart",
        programs: &["dart"],
        run: &["{dart}", "--disable-analytics", "run", "main.dart"],
        hello: "void main() { print('ok'); }\n",
        ..PLAIN
    },
    Recipe {
        name: "rdmd",
        languages: &["d"],
        file: "main.d",
        programs: &["rdmd", "dmd"],
        run: &["{rdmd}", "-unittest", "main.d"],
        hello: "import std.stdio;\nvoid main() { writeln(\"ok\"); }\n",
        ..PLAIN
    },
    Recipe {
        name: "go",
        languages: &["go", "go_test.go"],
        file: "main_test.go",
        programs: &["go"],
        version: &["version"],
        home: Some(&["env", "GOROOT"]),
        // As `go test` does, in two steps: it vets and builds, and the program's tests wait for the second.
        build: Some(&["{go}", "test", "-run", "^$", "-o", "program", "main_test.go"]),
        run: &["./program", "-test.paniconexit0"],
        env: &[
            ("GOTOOLCHAIN", "local"),
            ("GOTELEMETRY", "off"),
            ("GOMAXPROCS", "2"),
            ("GO111MODULE", "auto"),
        ],
        hello: "package main\n\nimport (\n\t\"fmt\"\n\t\"testing\"\n)\n\nfunc TestIt(t *testing.T) { fmt.Println(\"ok\") }\n",
        ..PLAIN
    },
    Recipe {
        name: "rustc",
        languages: &["rs", "rust"],
        file: "main.rs",
        programs: &["rustc", "cc"],
        home: Some(&["--print", "sysroot"]),
        build: Some(&["{rustc}", "-o", "program", "main.rs"]),
        run: &["./program"],
        hello: "fn main() { println!(\"ok\"); }\n",
        ..PLAIN
    },
    Recipe {
        name: "g++",
        languages: &["cpp", "c++"],
        file: "main.cpp",
        programs: &["g++"],
        build: Some(&["{g++}", "-std=c++17", "-o", "program", "main.cpp"]),
        run: &["./program"],
        hello: "#include <iostream>\nint main() { std::cout << \"ok\\n\"; }\n",
        ..PLAIN
    },
    Recipe {
        name: "swiftc",
        languages: &["swift"],
        file: "main.swift",
        programs: &["swiftc"],
        build: Some(&["{swiftc}", "-o", "program", "main.swift"]),
        run: &["./program"],
        hello: "print(\"ok\")\n",
        ..PLAIN
    },
    Recipe {
        name: "gnatmake",
        languages: &["adb", "ada"],
        file: "main.adb",
        programs: &["gnatmake"],
        build: Some(&["{gnatmake}", "-gnat2022", "-o", "program", "main.adb"]),
        run: &["./program"],
        hello: "with Ada.Text_IO;\nprocedure Main is\nbegin\n   Ada.Text_IO.Put_Line (\"ok\");\nend Main;\n",
        ..PLAIN
    },
    Recipe {
        name: "javac",
        languages: &["java"],
        file: "Problem.java",
        programs: &["javac", "java"],
        // Sized by what the run may use, not by the host.
        build: Some(&[
            "{javac}",
            "-J-Xmx1g",
            "-J-XX:ActiveProcessorCount=2",
            "-J-XX:+UseSerialGC",
            "-encoding",
            "UTF8",
            "-cp",
            "{classpath}",
            "-d",
            ".",
            "Problem.java",
        ]),
        run: &[
            "{java}",
            "-Xmx{heap_mb}m",
            "-XX:ActiveProcessorCount=2",
            "-XX:+UseSerialGC",
            "-ea",
            "-cp",
            "{classpath}",
            "Problem",
        ],
        hello: "class Problem { public static void main(String[] args) { System.out.println(\"ok\"); } }\n",
        ..PLAIN
    },
    Recipe {
        name: "scalac",
        languages: &["scala"],
        file: "Problem.scala",
        programs: &["scalac", "scala"],
        version: &["-version"],
        build: Some(&["{scalac}", "-d", ".", "Problem.scala"]),
        run: &["{scala}", "-cp", ".", "-J-ea", "Problem"],
        hello: "object Problem extends App { println(\"ok\") }\n",
        ..PLAIN
    },
    Recipe {
        name: "mono",
        languages: &["cs", "csharp"],
        file: "main.cs",
        programs: &["mcs", "mono"],
        build: Some(&["{mcs}", "-d:DEBUG", "-r:System.Numerics.dll", "-out:main.exe", "main.cs"]),
        run: &["{mono}", "main.exe"],
        // A failed assertion is written, and the program goes on.
        env: &[("MONO_TRACE_LISTENER", "Console.Error")],
        failures: &["System.Diagnostics.DefaultTraceListener.Fail", "Unhandled Exception"],
        hello: "class P { static void Main() { System.Console.WriteLine(\"ok\"); } }\n",
        ..PLAIN
    },
    Recipe {
        name: "dotnet",
        languages: &["fs", "fsharp"],
        file: "main.fsx",
        programs: &["dotnet"],
        run: &["{dotnet}", "fsi", "main.fsx"],
        env: &[
            ("DOTNET_CLI_TELEMETRY_OPTOUT", "1"),
            ("DOTNET_NOLOGO", "1"),
            ("DOTNET_EnableDiagnostics", "0"),
            // It would need files in memory, which nobody counts.
            ("DOTNET_EnableWriteXorExecute", "0"),
            ("DOTNET_PROCESSOR_COUNT", "2"),
        ],
        hello: "printfn \"ok\"\n",
        ..PLAIN
    },
];

/// The recipe for a language, by one of its short names.
pub fn recipe(language: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.languages.contains(&language))
}

/// Why a language's programs are not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A program is not installed.
    #[error("{program} is not installed")]
    NotInstalled {
        /// Its name.
        program: &'static str,
    },
    /// A program is installed, and does not work.
    #[error("{program} does not work: {reason}")]
    Broken {
        /// Its name.
        program: &'static str,
        /// What it does.
        reason: String,
    },
}

/// A recipe whose programs are installed.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The recipe.
    pub recipe: &'static Recipe,
    /// First line of what the compiler or interpreter tells about its version.
    pub version: String,
    /// Where each of the recipe's programs is.
    pub paths: Vec<PathBuf>,
    /// Directories and files that they need, besides the system's.
    pub read_only: Vec<PathBuf>,
    /// Directories and jars of the caller's `CLASSPATH` that are there, where the recipe takes them.
    pub classpath: Vec<PathBuf>,
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    path.is_file()
}

/// Where a program is in the caller's `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(&name))
        .find(|path| path.is_absolute() && is_executable(path))
}

/// What an installed program, which is trusted, writes: standard output, or else standard error.
fn ask(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if !output.status.success() {
        return Err(stderr.lines().next().unwrap_or("it fails").to_owned());
    }
    Ok(if stdout.trim().is_empty() { stderr } else { stdout })
}

/// Directory that a program outside the system's directories needs: that above its `bin`, else its own.
fn installation(program: &Path) -> Option<PathBuf> {
    let real = program.canonicalize().ok()?;
    if SYSTEM.iter().any(|system| real.starts_with(system)) {
        return None;
    }
    let directory = real.parent()?;
    let above = directory.parent().filter(|above| directory.ends_with("bin") && above.parent().is_some());
    Some(above.unwrap_or(directory).to_owned())
}

/// What the caller's `CLASSPATH` names by full paths, and is there.
fn classpath() -> Vec<PathBuf> {
    let Some(paths) = std::env::var_os("CLASSPATH") else { return Vec::new() };
    std::env::split_paths(&paths).filter(|path| path.is_absolute() && path.exists()).collect()
}

impl Recipe {
    fn takes_classpath(&self) -> bool {
        self.run.contains(&"{classpath}")
    }
}

impl Toolchain {
    /// Finds a recipe's programs in the caller's `PATH`, and asks them for their version.
    ///
    /// # Errors
    /// Where one is missing.
    pub fn detect(recipe: &'static Recipe) -> Result<Self, Missing> {
        let mut paths = Vec::new();
        for &program in recipe.programs {
            paths.push(find(program).ok_or(Missing::NotInstalled { program })?);
        }
        let program = recipe.programs[0];
        let broken = |reason| Missing::Broken { program, reason };
        let version = ask(&paths[0], recipe.version).map_err(broken)?;
        let version =
            version.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
        let mut read_only = Vec::new();
        if let Some(home) = recipe.home {
            let home = ask(&paths[0], home).map_err(broken)?;
            // What is in PATH may only find the program, and need to be told where.
            let real = Path::new(home.trim()).join("bin").join(program);
            if is_executable(&real) {
                paths[0] = real;
            }
        }
        for path in &mut paths {
            if let Some(directory) = installation(path)
                && !read_only.contains(&directory)
            {
                read_only.push(directory);
            }
            // Links may lead through directories that programs don't see.
            if let Ok(real) = path.canonicalize()
                && real.file_name() == path.file_name()
            {
                *path = real;
            }
        }
        let classpath = if recipe.takes_classpath() { classpath() } else { Vec::new() };
        let elsewhere = |path: &&PathBuf| !SYSTEM.iter().any(|system| path.starts_with(system));
        read_only.extend(classpath.iter().filter(elsewhere).cloned());
        Ok(Self { recipe, version, paths, read_only, classpath })
    }

    /// Every recipe, with what is installed of it.
    pub fn detect_all() -> Vec<(&'static Recipe, Result<Self, Missing>)> {
        RECIPES.iter().map(|recipe| (recipe, Self::detect(recipe))).collect()
    }

    fn fill(&self, command: &[&str], limits: &Limits) -> Vec<String> {
        let heap_mb = (limits.memory_bytes / 2) >> 20;
        // No path of a path list has the separator in it.
        let classpath = std::env::join_paths([PathBuf::from(".")].iter().chain(&self.classpath));
        let classpath = classpath.unwrap_or_else(|_| ".".into());
        let fill = |word: &&str| {
            let mut word = word.replace("{heap_mb}", &heap_mb.to_string());
            word = word.replace("{classpath}", &classpath.to_string_lossy());
            for (program, path) in self.recipe.programs.iter().zip(&self.paths) {
                word = word.replace(&format!("{{{program}}}"), &path.to_string_lossy());
            }
            word
        };
        command.iter().map(fill).collect()
    }

    /// A program of this source file.
    pub fn program(&self, source: &str, limits: Limits) -> Program {
        let build =
            self.recipe.build.map(|command| Build { argv: self.fill(command, &BUILD), limits: BUILD });
        Program {
            argv: self.fill(self.recipe.run, &limits),
            build,
            files: vec![(self.recipe.file.to_owned(), source.as_bytes().to_vec())],
            stdin: Vec::new(),
            env: self.recipe.env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            limits,
            extra_read_only: self.read_only.clone(),
        }
    }

    /// A program that only says whether this source file parses: it exits with 0 where it does. `None` of compiled
    /// languages, whose builds say so, and of those without a way to ask.
    pub fn check_program(&self, source: &str, limits: Limits) -> Option<Program> {
        let argv = self.fill(self.recipe.check?, &limits);
        Some(Program { argv, build: None, ..self.program(source, limits) })
    }

    /// Whether a program did what it should: exited with 0, and did not fail in another way.
    pub fn passed(&self, outcome: &Outcome) -> bool {
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        outcome.passed() && !self.recipe.failures.iter().any(|word| stderr.contains(word))
    }

    /// Runs a program that is known to work, as an installed toolchain may not work in a sandbox.
    ///
    /// # Errors
    /// Where it does not do what it should.
    pub fn try_out(&self, runner: &(impl Runner + ?Sized)) -> Result<(), Missing> {
        let limits =
            Limits { wall: Duration::from_mins(1), cpu: Duration::from_mins(1), ..Limits::default() };
        let broken = |reason| Missing::Broken { program: self.recipe.name, reason };
        let outcome = runner.run(&self.program(self.recipe.hello, limits));
        let outcome = outcome.map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            broken(format!("{error} {source}"))
        })?;
        let said = String::from_utf8_lossy(&outcome.stdout);
        if self.passed(&outcome) && said.lines().any(|line| line.trim() == "ok") {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&outcome.stderr);
        let line = words.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Err(broken(format!("{:?} of its {:?}: {line}", outcome.verdict, outcome.stage)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_whole_and_every_language_has_one() {
        let mut seen = std::collections::BTreeSet::new();
        for recipe in RECIPES {
            assert!(!recipe.programs.is_empty() && !recipe.file.is_empty() && !recipe.hello.is_empty());
            assert!(recipe.build.is_none() || recipe.check.is_none(), "{}", recipe.name);
            for command in recipe.build.iter().chain(&recipe.check).chain([&recipe.run]) {
                let known = recipe.programs.iter().any(|program| command[0] == format!("{{{program}}}"));
                assert!(known || command[0].starts_with("./"), "{}: {command:?}", recipe.name);
            }
            for language in recipe.languages {
                assert!(seen.insert(language), "{language} has two");
                assert_eq!(super::recipe(language).unwrap().name, recipe.name);
            }
        }
        assert!(super::recipe("klingon").is_none());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        static NONE: Recipe = Recipe { programs: &["codingspot-no-such-program"], ..PLAIN };
        let missing = Toolchain::detect(&NONE).unwrap_err();
        assert_eq!(missing.to_string(), "codingspot-no-such-program is not installed");
    }

    #[test]
    fn commands_are_filled_in() {
        let recipe = recipe("java").unwrap();
        let paths = vec!["/opt/jdk/bin/javac".into(), "/opt/jdk/bin/java".into()];
        let toolchain = Toolchain {
            recipe,
            version: String::new(),
            paths,
            read_only: vec!["/opt/jdk".into()],
            classpath: vec!["/opt/a.jar".into()],
        };
        let program = toolchain.program("x", Limits { memory_bytes: 1 << 30, ..Limits::default() });
        assert_eq!(program.argv[..2], ["/opt/jdk/bin/java", "-Xmx512m"]);
        assert_eq!(program.build.unwrap().argv[0], "/opt/jdk/bin/javac");
        #[cfg(unix)]
        assert!(program.argv.contains(&".:/opt/a.jar".to_owned()), "{:?}", program.argv);
        assert_eq!(program.files[0].0, "Problem.java");
        assert_eq!(program.extra_read_only, [PathBuf::from("/opt/jdk")]);
    }
}
