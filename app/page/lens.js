// Zoom and pan. Every .lens inside one [data-linked] shows the same part of its picture, so that a place can be
// looked at in the photograph and in the map at once. Buttons, keys, a double click, Ctrl and the wheel, two fingers.
(() => {
  const MOST = 8;
  const bounded = (value, low, high) => Math.min(high, Math.max(low, value));
  const seen = (linked) => ({
    zoom: Number(linked.dataset.zoom ?? 1), x: Number(linked.dataset.x ?? 0), y: Number(linked.dataset.y ?? 0),
  });

  // x, y: where the picture's upper left corner lies, in shares of the lens.
  function show(linked, { zoom, x, y }) {
    zoom = bounded(zoom, 1, MOST);
    const now = { zoom, x: bounded(x, 1 - zoom, 0), y: bounded(y, 1 - zoom, 0) };
    Object.assign(linked.dataset, now);
    for (const [name, value] of Object.entries(now)) linked.style.setProperty(`--${name}`, value);
    linked.classList.toggle("zoomed", zoom > 1);
  }

  // What lies under (u, v), in shares of the lens, stays there.
  function zoomAt(linked, factor, u = 0.5, v = 0.5) {
    const { zoom, x, y } = seen(linked);
    const next = bounded(zoom * factor, 1, MOST);
    show(linked, { zoom: next, x: u - ((u - x) / zoom) * next, y: v - ((v - y) / zoom) * next });
  }

  function move(linked, dx, dy) {
    const { zoom, x, y } = seen(linked);
    show(linked, { zoom, x: x + dx, y: y + dy });
  }

  const steps = { in: (linked) => zoomAt(linked, 1.5), out: (linked) => zoomAt(linked, 1 / 1.5),
    all: (linked) => show(linked, { zoom: 1, x: 0, y: 0 }) };
  const keys = { "+": steps.in, "=": steps.in, "-": steps.out, 0: steps.all,
    ArrowLeft: (linked) => move(linked, 0.1, 0), ArrowRight: (linked) => move(linked, -0.1, 0),
    ArrowUp: (linked) => move(linked, 0, 0.1), ArrowDown: (linked) => move(linked, 0, -0.1) };

  function place(event) {
    const lens = event.target.closest?.(".lens");
    if (!lens) return null;
    const box = lens.getBoundingClientRect();
    return { lens, linked: lens.closest("[data-linked]"), box,
      u: (event.clientX - box.left) / box.width, v: (event.clientY - box.top) / box.height };
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-linked] button[data-step]");
    if (button) steps[button.dataset.step](button.closest("[data-linked]"));
  });
  document.addEventListener("dblclick", (event) => {
    const at = place(event);
    if (at) zoomAt(at.linked, 2, at.u, at.v);
  });
  document.addEventListener("keydown", (event) => {
    const at = place(event);
    if (!at || !(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow") && seen(at.linked).zoom === 1) return; // the page scrolls as ever
    keys[event.key](at.linked);
    event.preventDefault();
  });
  document.addEventListener("wheel", (event) => {
    const at = event.ctrlKey && place(event);
    if (!at) return;
    zoomAt(at.linked, Math.exp(-event.deltaY / 200), at.u, at.v);
    event.preventDefault();
  }, { passive: false });

  const fingers = new Map();
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return b ? Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) : 0;
  };
  document.addEventListener("pointerdown", (event) => {
    const at = place(event);
    if (!at) return;
    fingers.set(event.pointerId, event);
    if (seen(at.linked).zoom > 1 && event.pointerType === "mouse") event.preventDefault(); // no dragging of the image
  });
  document.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId), at = before && place(event);
    if (!at) return;
    const was = spread();
    fingers.set(event.pointerId, event);
    if (was) zoomAt(at.linked, spread() / was, at.u, at.v);
    else move(at.linked, (event.clientX - before.clientX) / at.box.width, (event.clientY - before.clientY) / at.box.height);
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, (event) => fingers.delete(event.pointerId));
  document.addEventListener("dragstart", (event) => { if (place(event)) event.preventDefault(); });
})();
