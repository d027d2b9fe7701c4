// What the page does without asking the server: fade the heat map, take a pasted photograph.
function setHeat(value) {
  document.documentElement.style.setProperty("--heat", value);
}

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
