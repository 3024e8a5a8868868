// The tab Explore in the browser. Gradio calls this text with `element`, `props` (props.value: explore.opening) and
// `server` (draw, read). All that a user does lives here: the settings, the undo history, the favourites.

const page = props.value;
const root = element.querySelector(".gs-explore");
const HISTORY = 100, FAVOURITES = 24, STORE = "gantrol-favourites";
const syncs = [];                       // each widget's function that shows the settings
let now = clone(page.shown);            // what is wanted
let settled = clone(now);               // what the last finished step left, for the history
let past = [], future = [];
let visible = page.models.map((model) => model.name);
let active = visible[0];                // whose command line and download are shown
let answers = {};                       // by model: the newest answer of the server
let wanted = null, isDrawing = false;

// ------------------------------------------------------------------------------------------------ small things

function clone(value) { return JSON.parse(JSON.stringify(value)); }
function same(a, b) { return JSON.stringify(a) === JSON.stringify(b); }
function clamp(x, low, high) { return Math.min(Math.max(x, low), high); }
function tidy(x, step) { return Number((Math.round(x / step) * step).toFixed(6)); }

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "id" || name === "for") made.setAttribute(name, `explore-${value}`);  // ids are the whole page's
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function button(id, text, title, onclick, more = {}) {
  return make("button", { id, type: "button", class: "gs-button", title, "aria-label": title, onclick, ...more }, text);
}

function say(text, isError = false) {
  status.textContent = text;
  status.classList.toggle("gs-error", isError);
}

// ------------------------------------------------------------------------------------------------ asking the server

function draw(isDraft = false) {
  wanted = { shown: now, models: visible, draft: isDraft };
  if (!isDrawing) drawing();
}

async function drawing() {
  isDrawing = true;
  root.setAttribute("aria-busy", "true");
  let refused = 0;
  while (wanted) {                      // the newest settings only: those in between are never asked for
    const request = clone(wanted);
    wanted = null;
    const began = performance.now();
    let answer;
    try {
      answer = await server.draw(request);
    } catch (problem) {
      answer = { error: "the studio does not answer; is it still running in the terminal?" };
    }
    if (!answer || answer.error) {
      if (answer && answer.again && refused++ < 10) {    // busy: somebody else's turn
        await new Promise((done) => setTimeout(done, Math.min(200 * refused, 1000)));
        wanted = wanted || request;
        continue;
      }
      say(answer ? answer.error : "the studio gave no answer", true);
      root.dataset.state = "error";
      continue;
    }
    show(answer, performance.now() - began);
  }
  isDrawing = false;
  root.setAttribute("aria-busy", "false");
}

function show(answer, ms) {
  for (const picture of answer.pictures) {
    answers[picture.model] = picture;
    const shown = stage.querySelector(`[data-model="${CSS.escape(picture.model)}"] img`);
    if (!shown) continue;
    shown.src = picture.src;
    shown.alt = `what ${picture.model} draws for seed ${picture.shown.seed}`;
    shown.dataset.seed = picture.shown.seed;
  }
  const server_ms = answer.pictures.reduce((sum, picture) => sum + picture.ms, 0);
  say(`seed ${now.seed} · drawn in ${Math.round(server_ms)} ms`);
  root.dataset.state = "ready";
  root.dataset.steps = Number(root.dataset.steps || 0) + 1;
  root.dataset.roundTrip = ms.toFixed(1);
  repeat();
}

// ------------------------------------------------------------------------------------------------ changing things

function change(edit, isFinal = true) {
  edit(now);
  for (const sync of syncs) sync();
  draw(!isFinal);
  if (isFinal) settle();
}

function settle() {
  if (same(now, settled)) return;
  past = [...past, settled].slice(-HISTORY);
  future = [];
  settled = clone(now);
  buttons();
}

function travel(from, to) {
  if (!from.length) return;
  to.push(settled);
  settled = from.pop();
  now = clone(settled);
  for (const sync of syncs) sync();
  buttons();
  draw();
}

function undo() { travel(past, future); }
function redo() { travel(future, past); }
function buttons() {
  byId("undo").disabled = !past.length;
  byId("redo").disabled = !future.length;
}
function byId(id) { return root.querySelector(`#explore-${CSS.escape(id)}`); }

function numbersOf(control) {
  const value = now.controls[control];
  return value === undefined ? null : Array.isArray(value) ? value : [value];
}

function setNumber(shown, axis, number, siblings) {
  const is_one = siblings.length === 1;
  const before = shown.controls[axis.control];
  const values = Array.isArray(before) ? [...before] : siblings.map((other) => other.start);
  values[axis.index] = number;
  shown.controls[axis.control] = is_one ? number : values;
}

function release(name, controls) {
  return button(`reset-${name}`, "×", `let ${name} follow the seed again`, () => change((shown) => {
    for (const control of controls) delete shown.controls[control];
  }), { class: "gs-reset" });
}

// ------------------------------------------------------------------------------------------------ widgets

function row(name, help, ...inside) {
  return make("div", { class: "gs-row", role: "group", "aria-label": name, title: help, "data-widget": name }, ...inside);
}

function numberField(id, label, axis, read, write) {
  const field = make("input", {
    id, type: "number", min: axis.low, max: axis.high, step: axis.step, "aria-label": label, class: "gs-number",
    onchange: () => {
      const number = Number(field.value);
      if (field.value === "" || !Number.isFinite(number)) { sync(); return; }
      write(clamp(number, axis.low, axis.high));
    },
  });
  function sync() { field.value = read(); }
  syncs.push(sync);
  return make("span", { class: "gs-value" }, field, make("span", { class: "gs-unit" }, axis.unit));
}

function slider(axis, siblings, extra = null) {
  const read = () => { const set = numbersOf(axis.control); return set ? set[axis.index] : axis.start; };
  const id = siblings.length > 1 ? `${axis.control}-${axis.name}` : axis.control;
  const input = make("input", {
    id: `control-${id}`, type: "range", min: axis.low, max: axis.high, step: axis.step,
    "aria-label": axis.unit ? `${axis.name} in ${axis.unit}` : axis.name,
    oninput: () => change((shown) => setNumber(shown, axis, Number(input.value), siblings), false),
    onchange: () => change((shown) => setNumber(shown, axis, Number(input.value), siblings)),
  });
  const line = make("div", { class: "gs-slider" },
    make("div", { class: "gs-head" },
      make("label", { for: `control-${id}` }, axis.name.replaceAll("_", " ")),
      numberField(`number-${id}`, `${axis.name}, exactly`, axis, read,
        (number) => change((shown) => setNumber(shown, axis, number, siblings))),
      extra),
    input);
  syncs.push(() => {
    input.value = read();
    input.style.setProperty("--gs-part", `${100 * (read() - axis.low) / (axis.high - axis.low)}%`);
    input.setAttribute("aria-valuetext", `${read()} ${axis.unit}${numbersOf(axis.control) ? "" : ", follows the seed"}`);
    line.classList.toggle("gs-free", !numbersOf(axis.control));
  });
  return line;
}

function sliders(widget) {
  const reset = release(widget.name, [widget.name]);
  syncs.push(() => { reset.hidden = !numbersOf(widget.name); });
  if (widget.axes.length === 1) return row(widget.name, widget.help, slider(widget.axes[0], widget.axes, reset));
  const all = row(widget.name, widget.help,
    make("div", { class: "gs-head gs-title" }, make("span", {}, widget.name.replaceAll("_", " ")), reset),
    ...widget.axes.map((axis) => slider(axis, widget.axes)));
  syncs.push(() => { all.classList.toggle("gs-free", !numbersOf(widget.name)); });
  return all;
}

function hex(numbers) {
  return "#" + numbers.map((x) => Math.round(clamp(x, 0, 1) * 255).toString(16).padStart(2, "0")).join("");
}

function colour(widget) {
  const read = () => numbersOf(widget.name) || widget.start;
  const pick = (numbers, isFinal) => change((shown) => {
    shown.controls[widget.name] = numbers.map((x, i) => Number(clamp(x, widget.low[i], widget.high[i]).toFixed(4)));
  }, isFinal);
  const parsed = () => [1, 3, 5].map((at) => parseInt(input.value.slice(at, at + 2), 16) / 255);
  const input = make("input", {
    id: `control-${widget.name}`, type: "color", "aria-label": widget.name.replaceAll("_", " "),
    oninput: () => pick(parsed(), false), onchange: () => pick(parsed(), true),
  });
  const reset = release(widget.name, [widget.name]);
  const swatches = Object.entries(widget.swatches).map(([word, rgb]) => button(
    `swatch-${widget.name}-${word.replaceAll(" ", "-")}`, "", word, () => pick(rgb, true),
    { class: "gs-swatch", style: `--gs-colour: ${hex(rgb)}` }));
  const all = row(widget.name, widget.help,
    make("div", { class: "gs-head" }, make("label", { for: `control-${widget.name}` }, widget.name.replaceAll("_", " ")),
      make("span", { class: "gs-value" }), reset),
    make("div", { class: "gs-colours" }, input, ...swatches));
  syncs.push(() => {
    if (document.activeElement !== input || hex(read()) !== input.value) input.value = hex(read());
    reset.hidden = !numbersOf(widget.name);
    all.classList.toggle("gs-free", !numbersOf(widget.name));
  });
  return all;
}

function seedSwitch(widget) {
  const box = make("input", {
    id: widget.is_identity ? "lock-identity" : `keep-${widget.name}`, type: "checkbox", role: "switch",
    onchange: () => change((shown) => {
      if (box.checked) shown.controls[widget.name] = shown.seed; else delete shown.controls[widget.name];
    }),
  });
  const field = make("input", {
    id: `control-${widget.name}`, type: "number", min: 0, max: page.max_seed, step: 1, class: "gs-number",
    "aria-label": `seed of ${widget.name}`,
    onchange: () => change((shown) => { shown.controls[widget.name] = wholeSeed(field.value, shown.seed); }),
  });
  const text = widget.is_identity ? "lock identity" : `keep ${widget.name.replaceAll("_", " ")}`;
  const all = row(widget.name, widget.help,
    make("div", { class: "gs-head" },
      make("label", { class: "gs-switch" }, box, make("span", {}, text)),
      make("span", { class: "gs-value" }, make("span", { class: "gs-unit" }, "of seed"), field)));
  syncs.push(() => {
    const set = numbersOf(widget.name);
    box.checked = Boolean(set);
    field.value = set ? set[0] : now.seed;
    all.classList.toggle("gs-free", !set);
  });
  return all;
}

function wholeSeed(text, otherwise) {
  const number = Math.round(Number(text));
  return text !== "" && Number.isFinite(number) ? clamp(number, 0, page.max_seed) : otherwise;
}

// A pad is a square in which a point is dragged; arrow keys move it, with shift ten times as far.
function pad(id, label, axes, art, read, write) {
  const point = make("span", { class: "gs-point" });
  const area = make("div", {
    id, class: `gs-pad gs-pad-${art}`, role: "slider", tabindex: "0", "aria-label": label,
    "aria-valuemin": axes[0].low, "aria-valuemax": axes[0].high,
    "aria-roledescription": "two-way slider: arrow keys move it",
    onpointerdown: (event) => {
      if (event.button > 0) return;
      event.preventDefault();
      area.focus({ preventScroll: true });
      area.setPointerCapture(event.pointerId);
      area.classList.add("gs-dragged");
      follow(event, false);
    },
    onpointermove: (event) => { if (area.hasPointerCapture(event.pointerId)) follow(event, false); },
    onpointerup: (event) => { if (area.hasPointerCapture(event.pointerId)) { drop(event); follow(event, true); } },
    onpointercancel: (event) => { drop(event); settle(); draw(); },
    onkeydown: (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      const far = event.shiftKey ? 10 : 1;
      write(read().map((x, i) => {
        const nudge = Math.max(axes[i].step, tidy((axes[i].high - axes[i].low) / 100, axes[i].step));
        return clamp(tidy(x + way[i] * far * nudge * (axes[i].down ? -1 : 1), axes[i].step), axes[i].low, axes[i].high);
      }), true);
    },
  }, make("span", { class: "gs-art", "aria-hidden": "true" }), point);
  function drop(event) { area.classList.remove("gs-dragged"); area.releasePointerCapture(event.pointerId); }
  function follow(event, isFinal) {
    const box = area.getBoundingClientRect();
    const parts = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((p) => clamp(p, 0, 1));
    write(axes.map((axis, i) => {
      const part = i === 1 && !axis.down ? 1 - parts[1] : parts[i];
      return tidy(axis.low + part * (axis.high - axis.low), axis.step);
    }), isFinal);
  }
  syncs.push(() => {
    const values = read();
    const parts = axes.map((axis, i) => {
      const part = (values[i] - axis.low) / (axis.high - axis.low);
      return 100 * (i === 1 && !axis.down ? 1 - part : part);
    });
    area.style.setProperty("--gs-x", `${parts[0]}%`);
    area.style.setProperty("--gs-y", `${parts[1]}%`);
    area.setAttribute("aria-valuenow", values[0]);
    area.setAttribute("aria-valuetext", axes.map((axis, i) => `${axis.name} ${values[i]} ${axis.unit}`).join(", "));
  });
  return area;
}

function controlPad(widget) {
  const controls = [...new Set(widget.axes.map((axis) => axis.control))];
  const siblings = (axis) => widget.axes.filter((other) => other.control === axis.control);
  const one = (axis) => { const set = numbersOf(axis.control); return set ? set[axis.index] : axis.start; };
  const reset = release(widget.name, controls);
  const title = widget.picture === "pose" ? "head" : widget.name.replaceAll("_", " ");
  const area = pad(`pad-${widget.name}`, `${title}: ${widget.axes.map((axis) => axis.name).join(" and ")}`, widget.axes,
    widget.picture, () => widget.axes.map(one),
    (values, isFinal) => change((shown) => widget.axes.forEach((axis, i) => setNumber(shown, axis, values[i], siblings(axis))), isFinal));
  const fields = widget.axes.map((axis) => make("label", { class: "gs-field" },
    make("span", {}, axis.name),
    numberField(`number-${axis.name}`, axis.name, axis, () => one(axis),
      (number) => change((shown) => setNumber(shown, axis, number, siblings(axis))))));
  const all = row(widget.name, widget.help,
    make("div", { class: "gs-head gs-title" }, make("span", {}, title), reset),
    make("div", { class: "gs-padrow" }, area, make("div", { class: "gs-fields" }, ...fields)));
  syncs.push(() => {
    const isFree = !controls.some((control) => numbersOf(control));
    reset.hidden = isFree;
    all.classList.toggle("gs-free", isFree);
  });
  return all;
}

function movePad() {
  const axes = [
    { name: "right", low: -0.5, high: 0.5, step: 0.005, unit: "" },
    { name: "down", low: -0.5, high: 0.5, step: 0.005, unit: "", down: true },
  ];
  const turn = { name: "turn", low: -180, high: 180, step: 1, unit: "°" };
  const disc = pad("pad-move", "move the picture: right and down", axes, "move", () => now.translate,
    (values, isFinal) => change((shown) => { shown.translate = values; }, isFinal));
  const setTurn = (degrees, isFinal) => change((shown) => {
    shown.rotate = tidy(((degrees + 180) % 360 + 360) % 360 - 180, 1);
  }, isFinal);
  const knob = make("span", {
    id: "pad-rotate", class: "gs-knob", role: "slider", tabindex: "0", "aria-label": "turn the picture, counter-clockwise",
    "aria-valuemin": -180, "aria-valuemax": 180,
    onpointerdown: (event) => { event.preventDefault(); knob.focus({ preventScroll: true }); knob.setPointerCapture(event.pointerId); },
    onpointermove: (event) => { if (knob.hasPointerCapture(event.pointerId)) setTurn(angle(event), false); },
    onpointerup: (event) => { knob.releasePointerCapture(event.pointerId); settle(); draw(); },
    onkeydown: (event) => {
      const way = { ArrowLeft: 1, ArrowUp: 1, ArrowRight: -1, ArrowDown: -1 }[event.key];
      if (way) { event.preventDefault(); setTurn(now.rotate + way * (event.shiftKey ? 15 : 1), true); }
    },
  });
  const ring = make("div", { class: "gs-ring" }, disc, make("span", { class: "gs-arm" }, knob));
  function angle(event) {
    const box = ring.getBoundingClientRect();
    const x = event.clientX - box.left - box.width / 2, y = event.clientY - box.top - box.height / 2;
    return Math.round(Math.atan2(-x, -y) * 180 / Math.PI);
  }
  const reset = button("reset-move", "×", "put the picture back", () => change((shown) => {
    shown.translate = [0, 0];
    shown.rotate = 0;
  }), { class: "gs-reset" });
  const fields = axes.map((axis, i) => make("label", { class: "gs-field" }, make("span", {}, axis.name),
    numberField(`number-${axis.name}`, `${axis.name}, in picture widths`, axis, () => now.translate[i],
      (number) => change((shown) => { shown.translate[i] = number; }))));
  fields.push(make("label", { class: "gs-field" }, make("span", {}, "turn"),
    numberField("number-rotate", "turn, degrees counter-clockwise", turn, () => now.rotate, (number) => setTurn(number, true))));
  const all = row("move", "moves (in picture widths) and turns (counter-clockwise) what the alias-free model draws, before it draws it",
    make("div", { class: "gs-head gs-title" }, make("span", {}, "position"), reset),
    make("div", { class: "gs-padrow" }, ring, make("div", { class: "gs-fields" }, ...fields)));
  syncs.push(() => {
    const isFree = same(now.translate, [0, 0]) && now.rotate === 0;
    reset.hidden = isFree;
    all.classList.toggle("gs-free", isFree);
    ring.style.setProperty("--gs-turn", `${-now.rotate}deg`);
    knob.setAttribute("aria-valuenow", now.rotate);
    knob.setAttribute("aria-valuetext", `${now.rotate} degrees`);
  });
  return all;
}

// ------------------------------------------------------------------------------------------------ the picture

const status = make("p", { id: "status", class: "gs-status", role: "status", "aria-live": "polite" }, "drawing …");
const stage = make("div", { class: "gs-stage" });

function frame(model, index) {
  const image = make("img", { id: `picture-${index}`, class: "gs-picture", width: 512, height: 512, alt: "", draggable: "false" });
  let grip = null;
  const holder = make("figure", {
    class: "gs-frame", "data-model": model.name,
    onclick: () => { if (active !== model.name) { active = model.name; repeat(); } },
  }, image, page.models.length > 1
    ? make("figcaption", {}, make("strong", { title: model.name }, model.label), ` ${model.size} px`) : null);
  if (model.movable) {                  // with a mouse the picture itself can be dragged; a finger scrolls the page
    image.classList.add("gs-movable");
    image.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button) return;
      event.preventDefault();
      grip = { x: event.clientX, y: event.clientY, from: [...now.translate] };
      image.setPointerCapture(event.pointerId);
    });
    image.addEventListener("pointermove", (event) => {
      if (!grip) return;
      const width = image.getBoundingClientRect().width;
      const moved = [event.clientX - grip.x, event.clientY - grip.y].map((d) => d / width);
      change((shown) => { shown.translate = moved.map((d, i) => clamp(tidy(grip.from[i] + d, 0.005), -0.5, 0.5)); }, false);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      image.addEventListener(end, () => { if (grip) { grip = null; settle(); draw(); } });
    }
  }
  return holder;
}

function frames() {
  stage.replaceChildren(...page.models.filter((model) => visible.includes(model.name))
    .map((model) => frame(model, page.models.indexOf(model))));
  stage.dataset.count = visible.length;
}

function chooser() {
  if (page.models.length < 2) return null;
  return make("div", { class: "gs-models", role: "group", "aria-label": "models" }, ...page.models.map((model, index) => {
    const box = make("input", {
      id: `model-${index}`, type: "checkbox", checked: true,
      onchange: () => {
        const names = page.models.map((other) => other.name)
          .filter((name) => name === model.name ? box.checked : visible.includes(name));
        if (!names.length) { box.checked = true; return; }
        visible = names;
        if (!visible.includes(active)) active = visible[0];
        frames();
        draw();
      },
    });
    return make("label", { class: "gs-chip", title: model.name }, box, make("span", {}, model.label));
  }));
}

// ------------------------------------------------------------------------------------------------ seed, history

const seed = make("input", {
  id: "seed", type: "number", min: 0, max: page.max_seed, step: 1, "aria-label": "seed", class: "gs-number gs-seed",
  onchange: () => change((shown) => { shown.seed = wholeSeed(seed.value, shown.seed); }),
});
syncs.push(() => { seed.value = now.seed; });

function goTo(next) { change((shown) => { shown.seed = clamp(next(shown.seed), 0, page.max_seed); }); }

const bar = make("div", { class: "gs-bar", role: "toolbar", "aria-label": "seed and history" },
  make("span", { class: "gs-group" },
    button("seed-previous", "‹", "previous seed", () => goTo((s) => s - 1)),
    seed,
    button("seed-next", "›", "next seed", () => goTo((s) => s + 1)),
    button("seed-random", "random", "a seed by chance", () => goTo(() => Math.floor(Math.random() * 1e6)))),
  make("span", { class: "gs-group" },
    button("undo", "↶", "undo (ctrl Z)", undo, { disabled: true }),
    button("redo", "↷", "redo (ctrl shift Z)", redo, { disabled: true }),
    button("favourite", "♡", "keep as a favourite", keep),
    button("reset-all", "reset", "as at the start, with this seed", () => change((shown) => {
      const before = shown.seed;
      Object.assign(shown, clone(page.shown), { seed: before });
    }))));

document.addEventListener("keydown", (event) => {
  if (!root.isConnected || !root.offsetParent || !(event.ctrlKey || event.metaKey)) return;
  if (event.target instanceof HTMLTextAreaElement) return;
  const key = event.key.toLowerCase();
  if (key === "z" || key === "y") {
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo(); else undo();
  }
});

// ------------------------------------------------------------------------------------------------ favourites

const favourites = make("div", { id: "favourites", class: "gs-favourites", role: "list", "aria-label": "favourites" });

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) || "[]");
    return Array.isArray(found) ? found.filter((one) => one && one.shown && String(one.src).startsWith("data:image/")) : [];
  } catch { return []; }                // a browser that stores nothing, or nonsense in the store
}

function store(list) {
  try { localStorage.setItem(STORE, JSON.stringify(list)); } catch { say("this browser keeps no favourites", true); }
  listFavourites();
}

function keep() {
  const image = stage.querySelector(`[data-model="${CSS.escape(active)}"] img`);
  if (!answers[active] || !image.naturalWidth) return;
  const small = make("canvas", { width: 64, height: 64 });
  small.getContext("2d").drawImage(image, 0, 0, 64, 64);
  const one = { shown: clone(now), src: small.toDataURL("image/png") };
  store([one, ...kept().filter((other) => !same(other.shown, one.shown))].slice(0, FAVOURITES));
}

function listFavourites() {
  const list = kept();
  favourites.replaceChildren(...list.map((one, index) => make("span", { class: "gs-kept", role: "listitem" },
    make("button", {
      type: "button", class: "gs-thumb", title: `seed ${one.shown.seed}`, "aria-label": `show favourite ${index + 1}, seed ${one.shown.seed}`,
      onclick: () => open(one.shown),
    }, make("img", { src: one.src, alt: "", width: 56, height: 56 })),
    make("button", {
      type: "button", class: "gs-forget", "aria-label": `forget favourite ${index + 1}`, title: "forget",
      onclick: () => store(kept().filter((other) => !same(other.shown, one.shown))),
    }, "×"))));
  favourites.hidden = !list.length;
}

async function open(shown) {
  let answer;
  try { answer = await server.read(typeof shown === "string" ? shown : JSON.stringify(shown)); }
  catch { answer = { error: "the studio does not answer; is it still running in the terminal?" }; }
  if (answer.error) { say(answer.error, true); return; }
  if (visible.includes(answer.shown.model)) active = answer.shown.model;
  change((current) => Object.assign(current, answer.shown));
}

// ------------------------------------------------------------------------------------------------ repeating it

const command = make("pre", { id: "command", class: "gs-code", tabindex: "0", "aria-label": "command line" });
const python = make("pre", { id: "python", class: "gs-code", tabindex: "0", "aria-label": "Python" });
const file = make("input", {
  id: "open-json", type: "file", accept: ".json,application/json", class: "gs-file", "aria-label": "open a JSON file",
  onchange: async () => {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    if (chosen.size > 65536) { say(`${chosen.name} is too large to be the description of a picture`, true); return; }
    open(await chosen.text());
  },
});

function repeat() {
  const answer = answers[active];
  for (const one of stage.children) one.classList.toggle("gs-active", page.models.length > 1 && one.dataset.model === active);
  if (!answer) return;
  command.textContent = answer.command;
  python.textContent = answer.python;
}

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function savePng() {
  let answer = answers[active];
  if (!answer) return;
  if (!answer.src.startsWith("data:image/png")) {        // a draft, from a slider that is still held
    const exact = await server.draw({ shown: now, models: [active] });
    if (exact.error) { say(exact.error, true); return; }
    [answer] = exact.pictures;
  }
  const bytes = Uint8Array.from(atob(answer.src.split(",")[1]), (letter) => letter.charCodeAt(0));
  save(answer.file, new Blob([bytes], { type: "image/png" }));
}

function saveJson() {
  const answer = answers[active];
  if (!answer) return;
  const text = JSON.stringify({ ...answer.shown, command: answer.command, python: answer.python }, null, 2);
  save(answer.file.replace(/\.png$/, ".json"), new Blob([text + "\n"], { type: "application/json" }));
}

function copier(id, source, what) {
  const copy = button(id, "copy", `copy the ${what}`, async () => {
    try { await navigator.clipboard.writeText(source.textContent); copy.textContent = "copied"; }
    catch { getSelection().selectAllChildren(source); copy.textContent = "selected"; }
    setTimeout(() => { copy.textContent = "copy"; }, 1500);
  }, { class: "gs-button gs-copy" });
  return copy;
}

const repeating = make("div", { class: "gs-repeat" },
  make("div", { class: "gs-bar" },
    make("span", { class: "gs-group" },
      button("download-png", "PNG", "download the picture", savePng),
      button("download-json", "JSON", "download what reproduces it", saveJson),
      make("label", { class: "gs-button", for: "open-json", title: "open a JSON file that was downloaded here" }, "open JSON", file))),
  make("details", { class: "gs-how" },
    make("summary", { id: "repeat" }, "the command and the Python that make this picture"),
    make("div", { class: "gs-codes" },
      make("div", {}, copier("copy-command", command, "command"), command),
      make("div", {}, copier("copy-python", python, "Python"), python))));

// ------------------------------------------------------------------------------------------------ the page

function truncation() {
  const axis = { name: "truncation", low: 0, high: 1.2, step: 0.01, unit: "ψ" };
  const set = (number, isFinal) => change((shown) => { shown.truncation = number; }, isFinal);
  const input = make("input", {
    id: "truncation", type: "range", min: axis.low, max: axis.high, step: axis.step, "aria-label": "truncation",
    oninput: () => set(Number(input.value), false), onchange: () => set(Number(input.value), true),
  });
  syncs.push(() => {
    input.value = now.truncation;
    input.style.setProperty("--gs-part", `${100 * clamp(now.truncation / axis.high, 0, 1)}%`);
  });
  return row("truncation", "1: the whole variety; less: more typical; 0: the average",
    make("div", { class: "gs-slider" },
      make("div", { class: "gs-head" }, make("label", { for: "truncation" }, "truncation"),
        numberField("number-truncation", "truncation, exactly", axis, () => now.truncation, (number) => set(number, true))),
      input));
}

function classes() {
  const count = Math.max(...page.models.map((model) => model.classes));
  if (!count) return null;
  const field = make("input", {
    id: "class", type: "number", min: 0, max: count - 1, step: 1, class: "gs-number", "aria-label": "class",
    onchange: () => change((shown) => { shown.class_index = clamp(Math.round(Number(field.value)) || 0, 0, count - 1); }),
  });
  syncs.push(() => { field.value = now.class_index ?? 0; });
  return row("class", `the class, 0 to ${count - 1}`,
    make("div", { class: "gs-head" }, make("label", { for: "class" }, "class"), make("span", { class: "gs-value" }, field)));
}

const KINDS = { sliders, colour, pad: controlPad, seed: seedSwitch };
const smooth = make("input", {
  id: "smooth", type: "checkbox", checked: true, role: "switch",
  onchange: () => root.classList.toggle("gs-pixels", !smooth.checked),
});
const seeds = page.widgets.filter((widget) => widget.kind === "seed");
const values = page.widgets.filter((widget) => widget.kind !== "seed");
const [wide, narrow] = [values.filter((w) => w.kind !== "pad"), values.filter((w) => w.kind === "pad")];

root.append(
  make("section", { class: "gs-left", "aria-label": "picture" },
    chooser(), stage, status, bar,
    seeds.length ? make("div", { class: "gs-keepers" }, ...seeds.map((widget) => KINDS.seed(widget))) : null,
    favourites, repeating),
  make("section", { class: "gs-right", "aria-label": "controls" },
    make("div", { class: "gs-card" }, truncation(), classes(),
      row("smooth", "smooth enlarges as a screen does; off shows the pixels",
        make("label", { class: "gs-switch" }, smooth, make("span", {}, "smooth enlargement")))),
    narrow.length || page.models.some((model) => model.movable)
      ? make("div", { class: "gs-card gs-pads" }, ...narrow.map((widget) => KINDS.pad(widget)),
          page.models.some((model) => model.movable) ? movePad() : null)
      : null,
    wide.length ? make("div", { class: "gs-card" }, ...wide.map((widget) => KINDS[widget.kind](widget)),
      make("p", { class: "gs-hint" }, "What is faint follows the seed; moving it sets it, × lets it go.")) : null));

frames();
listFavourites();
for (const sync of syncs) sync();
draw();
