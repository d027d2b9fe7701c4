// What the page does without asking the server: fade the heat map, turn to a frame, take files that are pasted or
// dropped anywhere, name what Gradio leaves unnamed, keep the heartbeat, and ask before an unsaved case is lost.
function setHeat(value) {
  document.documentElement.style.setProperty("--heat", value);
}

document.addEventListener("click", (event) => {
  const bar = event.target.closest?.("button.moment");
  if (!bar) return;
  const timeline = bar.closest(".timeline");
  for (const other of timeline.querySelectorAll("button.moment")) other.setAttribute("aria-pressed", other === bar);
  for (const view of timeline.querySelectorAll(".views figure")) view.hidden = view.dataset.frame !== bar.dataset.frame;
});

// Gradio may lose what it gives to fields that it has not drawn, as those of a part that is folded from the start.
// Such parts are drawn unfolded, while the result is out of sight, and fold as soon as they are there. Until then
// the page takes no file.
const unfolded = new Set(["desk", "court"]);
const drawn = new Promise((resolve) => {
  document.documentElement.classList.add("drawing");
  const folding = new MutationObserver(() => {
    for (const name of unfolded) {
      const button = document.querySelector(`#${name}:has(textarea) > button.open`);
      if (!button) continue;
      unfolded.delete(name);
      button.click();
    }
    if (unfolded.size || !document.querySelector("#drop input[type=file]")) return;
    folding.disconnect();
    document.documentElement.classList.remove("drawing");
    resolve();
  });
  folding.observe(document, { childList: true, subtree: true });
});

// Hands files to Gradio's own input, as if they had been chosen there, as soon as the page is drawn. Returns
// whether there were any.
function take(list) {
  if (!list.length) return false;
  drawn.then(() => {
    const input = document.querySelector("#drop input[type=file]");
    const files = new DataTransfer();
    for (const file of list) files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  return true;
}

document.addEventListener("paste", (event) => {
  const media = [...(event.clipboardData?.files ?? [])].filter((file) => /^(image|video)\//.test(file.type));
  if (take(media)) event.preventDefault();
});

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const name of ["dragover", "drop", "dragleave", "dragend"]) {
  document.addEventListener(name, (event) => {
    if (!holdsFiles(event)) return;
    document.documentElement.classList.toggle("dropping", name === "dragover");
    if (name === "dragover" || name === "drop") event.preventDefault(); // else the browser leaves for the file
    if (name === "drop") {
      event.stopPropagation();
      take([...event.dataTransfer.files]);
    }
  }, true);
}

// Something is lost by leaving when a file of the visitor's, a question or a note came after the last download.
let unsaved = false;
const words = () => document.querySelector("#words");
const staysOpen = () => unsaved && holdsWork() && !confirm(words().dataset.replace);
const holdsWork = () => document.querySelectorAll("#files button").length > 1 || !!document.querySelector("#notes textarea")?.value;
document.addEventListener("change", (event) => {
  if (!event.target.matches?.("#drop input, #keep input")) return;
  const files = [...event.target.files];
  if (event.target.closest("#drop") && staysOpen()) {
    event.target.value = "";
    event.stopImmediatePropagation();
    return;
  }
  unsaved = files.some((file) => !file.name.toLowerCase().endsWith(".zip")); // a saved case is saved
}, true);
document.addEventListener("input", (event) => { if (event.target.closest?.("#desk")) unsaved = true; }, true);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.value?.trim() && event.target.closest?.("#ask")) unsaved = true;
}, true);
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#example, #forged") && staysOpen()) return event.stopImmediatePropagation();
  if (event.target.closest?.("#example, #forged")) unsaved = false; // an example is found again by a click
  if (event.target.closest?.("#ask button, #suggestions button")) unsaved = true;
  if (event.target.closest?.("#downloads button, #downloads a, #get-zip")) unsaved = false;
}, true);
window.addEventListener("beforeunload", (event) => {
  if (unsaved && document.querySelector("#verdict .card, #files button")?.checkVisibility()) event.preventDefault();
});

// Gradio opens the heartbeat of a window once. Where its connection breaks, as on another network, it is opened again,
// or the server would take the window for closed. A browser notes a resource when it is at its end.
new PerformanceObserver((list, observer) => {
  const ended = list.getEntries().find(({ name }) => name.includes("/heartbeat/"));
  if (!ended) return;
  observer.disconnect();
  keepBeating(ended.name);
}).observe({ type: "resource", buffered: true });
async function keepBeating(address) {
  for (;;) {
    await fetch(address).then((answer) => answer.text()).catch(() => {}); // until it breaks again
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

// The words of the chosen language for what only a script reaches.
const names = { "#drop button, #drop input": "drop", "#ask button": "send" };
function speak() {
  const said = words();
  if (!said) return;
  document.documentElement.lang = said.lang;
  document.documentElement.style.setProperty("--drop", JSON.stringify(said.dataset.drop));
  for (const [selector, name] of Object.entries(names)) {
    for (const element of document.querySelectorAll(selector)) {
      if (element.getAttribute("aria-label") !== said.dataset[name]) element.setAttribute("aria-label", said.dataset[name]);
    }
  }
}
new MutationObserver(speak).observe(document, { childList: true, subtree: true });
