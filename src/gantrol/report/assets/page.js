"use strict";
// Text from the run reaches the page through textContent and setAttribute alone, so that it can never become markup.
const read = (id) => { const block = document.getElementById(id); return block ? JSON.parse(block.textContent) : []; };
const make = (name, attributes = {}, ...children) => {
  const isDrawn = ["svg", "g", "path", "line", "circle", "text"].includes(name);
  const made = isDrawn ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const shown = (value) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
};

// ---- curves ---------------------------------------------------------------------------------------------------------

const HEIGHT = 208, LEFT = 48, RIGHT = 10, TOP = 8, BOTTOM = 22;
const redraws = [];
let isSmooth = false;

/** Round numbers from low to high, about `count` of them. */
const steps = (low, high, count) => {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-6); at * step <= high + step * 1e-6; at++) found.push(at * step);
  return found;
};

/** A running mean that looks back about ten ticks, without a bias at its start. */
const smoothed = (values) => {
  let sum = 0, weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = 0.9 * sum + 0.1 * value;
    weight = 0.9 * weight + 0.1;
    return sum / weight;
  });
};

const draw = (figure, data) => {
  const colour = (index) => `var(--c${index % 8})`;
  const hidden = new Set();
  let isLog = data.log, at = null;
  const svg = make("svg", { role: "img", tabindex: 0, "aria-label": `${data.title}: curves over thousands of images` });
  const legend = make("div", { class: "legend" });
  const readings = [];
  data.lines.forEach((line, index) => {
    const value = make("span", { class: "value" });
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = colour(index);
    const button = make("button", { type: "button", class: "line", "aria-pressed": "true" }, swatch, line.name + " ", value);
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      redraw();
    });
    readings.push(value);
    legend.append(button);
  });
  const when = make("span", { class: "note", role: "status" });
  legend.append(when);
  if (data.lines.some((line) => line.y.some((value) => value > 0))) {
    const log = make("button", { type: "button", class: "log", "aria-pressed": String(isLog) }, "log");
    log.addEventListener("click", () => { isLog = !isLog; log.setAttribute("aria-pressed", String(isLog)); redraw(); });
    legend.append(log);
  }
  figure.append(svg, legend);

  let toX = () => LEFT, cursor = null;
  const redraw = () => {
    const width = Math.max(svg.clientWidth || figure.clientWidth || 480, 200);
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren();
    const usable = (value) => value !== null && (!isLog || value > 0);
    const visible = data.lines.map((line, index) => ({ ...line, index })).filter((line) => !hidden.has(line.index));
    const levels = (data.levels || []).filter((level) => usable(level.y));
    const values = visible.flatMap((line) => line.y.filter(usable)).concat(levels.map((level) => level.y));
    let low = Math.min(...values), high = Math.max(...values);
    if (!values.length) [low, high] = isLog ? [0.1, 1] : [0, 1];
    if (!isLog && typeof data.low === "number") low = Math.min(low, data.low);
    const scale = isLog ? Math.log10 : (value) => value;
    let bottom = scale(low), top = scale(high);
    const pad = (top - bottom) * 0.05 || Math.abs(top) * 0.05 || 0.5;
    if (low !== data.low || isLog) bottom -= pad;
    top += pad;
    const first = data.x[0] ?? 0, last = data.x[data.x.length - 1] ?? 1;
    toX = (x) => (last > first ? LEFT + ((x - first) / (last - first)) * (width - LEFT - RIGHT) : (LEFT + width - RIGHT) / 2);
    const toY = (y) => HEIGHT - BOTTOM - ((scale(y) - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
    const rule = (x1, y1, x2, y2, name) => svg.append(make("line", { x1, y1, x2, y2, class: name }));
    const write = (x, y, anchor, text) => svg.append(make("text", { x, y, "text-anchor": anchor }, text));
    let ticks = steps(bottom, top, 5);
    if (isLog) {  // powers of ten, or 1, 2, 5 in between where there are few
      const powers = [];
      for (let power = Math.floor(bottom); power <= Math.ceil(top); power++) for (const f of top - bottom > 2 ? [1] : [1, 2, 5]) powers.push(f * 10 ** power);
      ticks = powers.filter((value) => scale(value) >= bottom && scale(value) <= top);
    }
    for (const tick of ticks) {
      rule(LEFT, toY(tick), width - RIGHT, toY(tick), "axis");
      write(LEFT - 6, toY(tick) + 4, "end", shown(tick));
    }
    if (last > first) for (const x of steps(first, last, 7)) if (toX(x) < width - 56) write(toX(x), HEIGHT - 6, "middle", shown(x));
    write(width - RIGHT, HEIGHT - 6, "end", "kimg");
    for (const level of levels) {
      rule(LEFT, toY(level.y), width - RIGHT, toY(level.y), "level");
      write(width - RIGHT, toY(level.y) - 4, "end", level.label);
    }
    for (const line of visible) {
      const path = (numbers) => {
        let isDown = false;
        return numbers.map((value, index) => {
          if (!usable(value)) { return ""; }
          const command = isDown ? "L" : "M";
          isDown = true;
          return `${command}${toX(data.x[index]).toFixed(1)} ${toY(value).toFixed(1)}`;
        }).join("");
      };
      const isThin = isSmooth && line.y.length > 3;
      svg.append(make("path", { d: path(line.y), stroke: colour(line.index), class: isThin ? "raw" : "curve" }));
      if (isThin) svg.append(make("path", { d: path(smoothed(line.y)), stroke: colour(line.index), class: "curve" }));
      if (data.dots || line.y.filter(usable).length < 2) line.y.forEach((value, index) => {
        if (usable(value)) svg.append(make("circle", { cx: toX(data.x[index]), cy: toY(value), r: 2.5, fill: colour(line.index) }));
      });
    }
    for (const mark of data.marks || []) if (usable(mark.y) && visible.length) {
      svg.append(make("circle", { cx: toX(mark.x), cy: toY(mark.y), r: 6, class: "mark" }));
      write(Math.min(toX(mark.x), width - 40), toY(mark.y) - 10, "middle", `${mark.label} ${shown(mark.y)}`);
    }
    cursor = make("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", visibility: "hidden" });
    svg.append(cursor);
    point(at);
  };
  /** Shows the values of one tick; without one, those of the last. */
  const point = (index) => {
    at = index;
    const where = index === null ? data.x.length - 1 : index;
    data.lines.forEach((line, number) => {
      let from = where;
      while (index === null && from > 0 && line.y[from] === null) from--;
      readings[number].textContent = shown(line.y[from]);
    });
    when.textContent = index === null ? "" : `at ${shown(data.x[where])} kimg`;
    cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    if (index !== null) { cursor.setAttribute("x1", toX(data.x[where])); cursor.setAttribute("x2", toX(data.x[where])); }
  };
  const nearest = (event) => {
    const x = event.clientX - svg.getBoundingClientRect().left;
    let best = 0;
    data.x.forEach((value, index) => { if (Math.abs(toX(value) - x) < Math.abs(toX(data.x[best]) - x)) best = index; });
    point(best);
  };
  if (data.x.length) {
    svg.addEventListener("pointermove", nearest);
    svg.addEventListener("pointerdown", nearest);
    svg.addEventListener("pointerleave", () => point(null));
    svg.addEventListener("blur", () => point(null));
    svg.addEventListener("keydown", (event) => {
      const end = data.x.length - 1, from = at === null ? end : at;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: end, Escape: null }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      point(to === null ? null : Math.min(Math.max(to, 0), end));
    });
  }
  redraw();
  redraws.push(redraw);
};

const charts = {};
for (const figure of document.querySelectorAll("[data-chart]")) {
  const { source, chart } = figure.dataset;
  charts[source] ??= read(source);
  draw(figure, charts[source][Number(chart)]);
}
const redrawAll = () => redraws.forEach((redraw) => redraw());
let lastWidth = document.body.clientWidth;
addEventListener("resize", () => { if (document.body.clientWidth !== lastWidth) { lastWidth = document.body.clientWidth; redrawAll(); } });
addEventListener("beforeprint", redrawAll);
document.getElementById("smooth")?.addEventListener("change", (event) => { isSmooth = event.target.checked; redrawAll(); });

// ---- samples --------------------------------------------------------------------------------------------------------

const slider = document.getElementById("moment"), play = document.getElementById("play");
if (slider) {
  const times = slider.dataset.times.split(" ").map(Number);
  const groups = [...document.querySelectorAll(".frames")].map((figure) => [...figure.querySelectorAll("[data-n-img]")]);
  const show = () => {
    const time = times[slider.value];
    const text = `${shown(time / 1000)} kimg`;
    document.getElementById("when").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    for (const images of groups) {
      if (!images.length) continue;
      const past = images.filter((image) => Number(image.dataset.nImg) <= time);
      const current = past[past.length - 1] || images[0];
      for (const image of images) image.hidden = image !== current;
    }
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶ Play"; play.setAttribute("aria-pressed", "false"); };
  slider.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (slider.value === slider.max) slider.value = 0;
    show();
    play.textContent = "❚❚ Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) stop();
    }, 400);
  });
  show();
}

// ---- copying --------------------------------------------------------------------------------------------------------

const rows = document.getElementById("rows");
const rowsText = rows ? JSON.stringify(JSON.parse(rows.textContent), null, 2) : "";
if (rows) document.getElementById("json-text").textContent = rowsText;
for (const button of document.querySelectorAll("[data-copy], [data-copy-from]")) {
  button.addEventListener("click", async () => {
    const text = button.dataset.copy ?? rowsText, label = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a browser that does not let pages from the disk write there
      const field = make("textarea", { readonly: "" });
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}
