//! Which model: of the catalogue, of the hub, or of this computer; and what this browser keeps.

use crate::page::app::App;
use crate::page::files::{Files, MAX_CODE_BYTES, MAX_CODE_FILES, classify, language};
use crate::page::format;
use crate::page::state::{ModelChoice, State};
use crate::protocol::{CacheEntry, Encoding, Snippet};
use leptos::html::Input;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{DragEvent, File, FileList};

/// Everything about the choice of a model; unfolds.
#[component]
pub(crate) fn Models() -> impl IntoView {
    let app = App::get();
    let title = app.watch(State::chosen_title);
    view! {
        <details
            class="models"
            data-testid="models"
            prop:open=app.models_open
            on:toggle=move |event| {
                let open = event.target().is_some_and(|target| {
                    target.dyn_ref::<web_sys::Element>().is_some_and(|element| element.has_attribute("open"))
                });
                app.models_open.set(open);
            }
        >
            <summary>"Model: " <strong data-testid="model-name">{title}</strong> ". Choose another, files, storage"</summary>
            <div class="choices">
                <Catalogue/>
                <Hub/>
                <EncodingChoice/>
                <DropZone/>
                <Kept/>
            </div>
        </details>
    }
}

/// The models that this page offers.
#[component]
fn Catalogue() -> impl IntoView {
    let app = App::get();
    let models = app.watch(|state| {
        state
            .catalogue
            .iter()
            .map(|model| {
                let size = Some(model.bytes).filter(|bytes| *bytes > 0).map(format::bytes);
                let size = size.map(|size| format!(" ({size})")).unwrap_or_default();
                (model.name.clone(), format!("{}{size}", model.title))
            })
            .collect::<Vec<_>>()
    });
    let chosen = app.watch(|state| match &state.choice {
        ModelChoice::Catalogue(name) => name.clone(),
        ModelChoice::Hub(_) | ModelChoice::Local(_) => String::new(),
    });
    let other = app.watch(|state| state.listed().is_none().then(|| state.chosen_title()));
    view! {
        <label class="field" for="model-select">
            <span>"Model"</span>
            <select
                id="model-select"
                data-testid="model-select"
                on:change=move |event| {
                    let name = event_target_value(&event);
                    if !name.is_empty() {
                        app.act(|state| state.choose_model(ModelChoice::Catalogue(name)));
                    }
                }
            >
                {move || other.get().map(|title| view! { <option value="" selected>{title}</option> })}
                {move || models.get().into_iter().map(|(name, label)| {
                    let selected = chosen.get() == name;
                    view! { <option value=name selected=selected>{label}</option> }
                }).collect_view()}
            </select>
        </label>
    }
}

/// A model of the hub by its id.
#[component]
fn Hub() -> impl IntoView {
    let app = App::get();
    let id = NodeRef::<Input>::new();
    let choose = move || {
        if let Some(input) = id.get_untracked() {
            app.act(|state| state.choose_hub(&input.value()));
        }
    };
    view! {
        <div class="field">
            <label for="hub-id">"Hugging Face model id"</label>
            <div class="row">
                <input
                    id="hub-id"
                    type="text"
                    data-testid="hub-id"
                    placeholder="ORG/NAME"
                    autocomplete="off"
                    autocapitalize="off"
                    spellcheck="false"
                    node_ref=id
                    on:keydown=move |event| if event.key() == "Enter" { choose(); }
                />
                <button type="button" class="plain compact" data-testid="hub-choose" on:click=move |_| choose()>
                    "Choose"
                </button>
            </div>
        </div>
    }
}

/// How matrices are held, and whether what is fetched is kept.
#[component]
fn EncodingChoice() -> impl IntoView {
    let app = App::get();
    let chosen = app.watch(|state| state.encoding.map_or("auto", Encoding::label));
    let keep = app.watch(|state| state.keep);
    let all = [Encoding::F32, Encoding::F16, Encoding::Q8, Encoding::Q4];
    let describe = |encoding: Encoding| match encoding {
        Encoding::F32 => "f32: exact, 4 bytes a parameter",
        Encoding::F16 => "f16: 2 bytes",
        Encoding::Q8 => "Q8: about 1 byte",
        Encoding::Q4 => "Q4: about half a byte",
    };
    view! {
        <label class="field">
            <span>"Weights held as"</span>
            <select
                data-testid="encoding"
                on:change=move |event| {
                    let value = event_target_value(&event);
                    app.change(|state| state.choose_encoding(all.into_iter().find(|one| one.label() == value)));
                }
            >
                <option value="auto" selected=move || chosen.get() == "auto">"Automatic"</option>
                {all.map(|encoding| view! {
                    <option value=encoding.label() selected=move || chosen.get() == encoding.label()>
                        {describe(encoding)}
                    </option>
                }).collect_view()}
            </select>
        </label>
        <label class="choice">
            <input
                type="checkbox"
                data-testid="keep"
                prop:checked=keep
                on:change=move |event| app.change(|state| state.keep = event_target_checked(&event))
            />
            <span>"Keep a copy in this browser"</span>
        </label>
    }
}

fn listed(files: Option<FileList>) -> Vec<File> {
    files.map(|files| (0..files.length()).filter_map(|place| files.get(place)).collect()).unwrap_or_default()
}

/// Files of this computer: a model, a spot, or code.
#[component]
fn DropZone() -> impl IntoView {
    let app = App::get();
    let over = RwSignal::new(false);
    let take = move |files: Vec<File>| take_files(app, files);
    view! {
        <div
            class="drop"
            data-testid="drop-zone"
            data-over=move || over.get().to_string()
            on:dragover=move |event: DragEvent| {
                event.prevent_default();
                over.set(true);
            }
            on:dragleave=move |_| over.set(false)
            on:drop=move |event: DragEvent| {
                event.prevent_default();
                over.set(false);
                take(listed(event.data_transfer().and_then(|data| data.files())));
            }
        >
            <label for="file-input">"Files of this computer"</label>
            <input
                id="file-input"
                type="file"
                multiple
                data-testid="file-input"
                aria-describedby="drop-hint"
                on:change=move |event| {
                    let input: web_sys::HtmlInputElement = event_target(&event);
                    take(listed(input.files()));
                    // The same file may be chosen again.
                    input.set_value("");
                }
            />
            <p class="hint" id="drop-hint">
                "Choose or drop a checkpoint (config.json, tokenizer.json, .safetensors), a spot (one .safetensors), or \
                 code to score. They stay on this computer."
            </p>
        </div>
    }
}

fn take_files(app: App, files: Vec<File>) {
    let names: Vec<String> = files.iter().map(File::name).collect();
    match classify(names.iter().map(String::as_str)) {
        Files::Model => app.take_model_files(files),
        Files::Spot => {
            if let Some(file) = files.into_iter().next() {
                app.take_spot_file(file);
            }
        }
        Files::Code => read_code(app, files),
        Files::Unknown if names.is_empty() => {}
        Files::Unknown => app.change(|state| {
            state.refuse(
                "These files are neither a checkpoint with its config.json, nor one spot file, nor code. Choose others.",
            );
        }),
    }
}

fn read_code(app: App, files: Vec<File>) {
    let total: f64 = files.iter().map(|file| file.size()).sum();
    if files.len() > MAX_CODE_FILES || total > MAX_CODE_BYTES as f64 {
        app.change(|state| {
            state.refuse(format!(
                "At most {MAX_CODE_FILES} files of code with {} in all can be scored at once. Choose fewer.",
                format::bytes(MAX_CODE_BYTES)
            ));
        });
        return;
    }
    leptos::task::spawn_local(async move {
        let mut documents = Vec::new();
        for file in files {
            let language = language(&file.name()).unwrap_or("code").to_owned();
            let file = gloo::file::File::from(file);
            if let Ok(text) = gloo::file::futures::read_as_text(&file).await {
                documents.push(Snippet { language, text });
            }
        }
        app.code.set(documents);
    });
}

/// What this browser keeps.
#[component]
fn Kept() -> impl IntoView {
    let app = App::get();
    let entries = app.watch(|state| {
        let named = |entry: &CacheEntry| CacheEntry { name: state.kept_title(entry), ..entry.clone() };
        state.cache.entries.iter().map(named).collect::<Vec<_>>()
    });
    let quota = app.watch(|state| {
        let quota = state.cache.quota_bytes.map(format::bytes);
        quota.map(|quota| format!("This browser allows {quota} of storage."))
    });
    let known = app.watch(|state| state.cache.known);
    view! {
        <div class="kept" id="kept" tabindex="-1" data-testid="kept">
            <p><strong>"Kept in this browser"</strong></p>
            <Show when=move || known.get() && entries.with(Vec::is_empty)>
                <p class="hint">"No model is kept."</p>
            </Show>
            <ul>
                {move || entries.get().into_iter().map(|entry| {
                    let size = if entry.bytes < entry.total_bytes {
                        format!("{} of {}", format::bytes(entry.bytes), format::bytes(entry.total_bytes))
                    } else {
                        format::bytes(entry.bytes)
                    };
                    let label = format!("Delete {}", entry.name);
                    let key = entry.key.clone();
                    view! {
                        <li data-testid="kept-entry">
                            <span>{entry.name} ": " {size}</span>
                            <button
                                type="button"
                                class="plain compact"
                                data-testid="kept-delete"
                                aria-label=label
                                on:click=move |_| app.act(|state| state.evict(key.clone()))
                            >
                                "Delete"
                            </button>
                        </li>
                    }
                }).collect_view()}
            </ul>
            <p class="hint">{quota}</p>
        </div>
    }
}
