"use strict";
// Everything can be read without this: it copies tables and downloads data.
(function () {
  function read(id) {
    var element = document.getElementById(id);
    return element ? element.textContent : "";
  }
  function say(button, text) {
    var place = button.parentElement.querySelector(".cs-said");
    if (place) {
      place.textContent = text;
    }
  }
  // Works without a permission and on pages opened as files, but only while the click is handled.
  function copyAtOnce(text) {
    var area = document.createElement("textarea");
    area.value = text;
    document.body.appendChild(area);
    area.select();
    var done = document.execCommand("copy");
    area.remove();
    return done;
  }
  function copy(button) {
    var text = JSON.parse(read("table-" + button.dataset.copy));
    function done() {
      say(button, "Copied.");
    }
    function failed() {
      say(button, "This browser does not allow copying.");
    }
    if (copyAtOnce(text)) {
      done();
    } else if (navigator.clipboard) {
      navigator.clipboard.writeText(text).then(done, failed);
    } else {
      failed();
    }
    button.focus();
  }
  function download(button) {
    var id = button.dataset.download;
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([read("data-" + id)], { type: "application/json" }));
    link.download = id + ".json";
    link.click();
    setTimeout(function () {
      URL.revokeObjectURL(link.href);
    }, 10000);
    say(button, "Saved as " + id + ".json.");
  }
  document.querySelectorAll(".cs-tools").forEach(function (tools) {
    tools.hidden = false;
  });
  document.addEventListener("click", function (event) {
    var button = event.target.closest("button");
    if (button) {
      if (button.dataset.copy) {
        copy(button);
      } else if (button.dataset.download) {
        download(button);
      }
    }
  });
})();
