// What the page does without asking the server: fade the heat map, turn to a frame, take a pasted photograph.
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

document.addEventListener("paste", (event) => {
  const photo = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  const input = document.querySelector("#drop input[type=file]");
  if (!photo || !input) return;
  const files = new DataTransfer();
  files.items.add(photo);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  event.preventDefault();
});
