"use strict";
// The section of a group: its picture, its diagrams, its light curves, and what is chosen in them.
const bycatchGroups = (() => {
  const { about, at, make, inWords, meaningOf, flagNames, middle, nan, range, source, model } = bycatchReport;
  const MOST_LISTED = 50;
  const ARROW_MAG = 0.12;   // length of the arrows of limits, in shares of the axis
  const BAR_MAG = 1;        // error bars are those of bins of a magnitude
  const DRAWN_ERROR = 0.5;  // of limits nothing fainter is drawn than this error, mag
  const FILTER_COLOURS = ["#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#000000"];
  const COLOURS_ON_WHITE = "linear-gradient(90deg, #E69F00, #9A9A9A, #0072B2)";
  let models = null;
  let shown = null;
  let columns = {};
  let current = -1;

  const list = (name) => (columns[name] ? columns[name].values : shown.id.map(() => null));
  const pairs = () => shown.filters.slice(1).map((g, k) => `${shown.filters[k]}_${g}`);
  const SIZE = "half_light_arcsec";
  const inPair = (pair) => (pair === SIZE ? "half-light radius, arcsec" : `${pair.replace("_", " - ")}, AB mag`);

  async function show(number, scroll = false) {
    if (number < 0 || number >= about.groups.length) return;
    current = number;
    const group = about.groups[number];
    at("group-state").textContent = `Loading ${group.title} ...`;
    let content;
    try {
      content = await bycatchReport.unpacked(
        await bycatchReport.packedText(`group-packed-${number}`, group));
    } catch (error) {
      content = { problem: error.message };
    }
    if (number !== current) return;
    shown = content;
    at("choose-group").value = String(number);
    at("h-group").textContent = group.title;
    at("group-content").hidden = Boolean(content.problem);
    at("group-state").textContent = content.problem ? `${group.title} can't be shown: ${content.problem}` : "";
    if (!content.problem) fill();
    document.body.dataset.group = group.key;
    if (scroll) {
      at("group").scrollIntoView({ block: "start" });
      at("group").focus({ preventScroll: true });
    }
  }

  function options(id, values, words, first) {
    at(id).replaceChildren(...values.map((value) => make("option", { value }, words(value))));
    if (values.length) at(id).value = first;
    at(id).parentElement.hidden = values.length < 2;
  }

  function fill() {
    columns = {};
    for (const column of shown.columns) columns[column.name] = column;
    const two = pairs();
    options("cmd-colour", columns[SIZE] ? [...two, SIZE] : two, inPair, two[0] || SIZE);
    options("cmd-magnitude", shown.filters, (f) => f, shown.filters[shown.filters.length - 1]);
    options("ccd-across", two, inPair, two[0]);
    options("ccd-up", two, inPair, two[1] || two[0]);
    at("ccd-figure").hidden = two.length < 2;
    fillCurves();
    fillPicture();
    fillPlots(true);
    picked([]);
  }

  // ---- the diagrams ------------------------------------------------------------------------------

  function fillPlots(fits) {
    const least = Number(at("least-real").value);
    const real = list("p_real").map((p) => (p ?? 0) >= least);
    const only = (values) => values.map((value, k) => (real[k] && value !== null ? value : NaN));
    const withLimits = at("show-limits").checked;
    const star = nan(list("p_star"));
    const data = {
      row: shown.id.map((_, k) => k), id: shown.id, x: only(shown.x), y: only(shown.y),
      p_star: star, p_real: nan(list("p_real")),
      marker: star.map((p) => (p >= 0.5 ? "circle" : p < 0.5 ? "square" : "diamond")),
      line: star.map((p) => (p >= 0.5 ? "#0072B2" : p < 0.5 ? "#E69F00" : "#777777")),
      text: shown.id.map((_, k) => inMagnitudes(k)),
      ...cmdColumns(only, withLimits, fits), ...ccdColumns(only, withLimits, fits),
    };
    models.objects.data = data;
  }

  function inMagnitudes(k) {
    return shown.filters.map((f) => {
      const mag = list(`mag_${f}`)[k];
      const limit = list(`maglim_${f}`)[k];
      if (mag !== null) return `${f} ${mag.toFixed(2)}`;
      return limit === null ? "" : `${f} > ${limit.toFixed(2)}`;
    }).filter(Boolean).join(", ");
  }

  // Values of a colour: where it is measured, and where it is a limit, with the arrow's direction.
  function colourOf(pair, only) {
    if (pair === SIZE) {
      const none = shown.id.map(() => NaN);
      return { measured: only(list(SIZE)), limit: none, way: shown.id.map(() => 0), error: shown.id.map(() => null) };
    }
    const colour = only(list(`colour_${pair}`));
    const kind = list(`colour_limit_${pair}`);
    return {
      measured: colour.map((c, k) => (kind[k] === 0 ? c : NaN)),
      limit: colour.map((c, k) => (Math.abs(kind[k]) === 1 ? c : NaN)),
      way: kind.map((k) => (Math.abs(k) === 1 ? k : 0)),
      error: list(`colour_err_${pair}`),
    };
  }

  function cmdColumns(only, withLimits, fits) {
    const plot = model("cmd");
    const nothing = shown.id.map(() => NaN);
    const pair = at("cmd-colour").value;
    const f = at("cmd-magnitude").value || shown.filters[0];
    if (!pair) {
      at("t-cmd").textContent = "One filter has no colour, and there are no sizes.";
      return Object.fromEntries(["x", "y", "lx", "tip", "turn"].map((name) => [`cmd_${name}`, nothing]));
    }
    const { measured, limit, way, error } = colourOf(pair, only);
    const mag = only(list(`mag_${f}`));
    if (fits) {
      span(plot.x_range, measured, 0.15);
      span(plot.y_range, mag.map((m, k) => (Number.isFinite(measured[k]) ? m : NaN)), 0.4, true);
    }
    plot.below[0].axis_label = inPair(pair);
    plot.left[0].axis_label = `${f}, AB mag`;
    const reach = ARROW_MAG * Math.abs(plot.x_range.end - plot.x_range.start) * 0.4;
    const some = limit.map((c, k) => (withLimits && Number.isFinite(mag[k]) ? c : NaN));
    const nObjects = measured.filter((c, k) => Number.isFinite(c + mag[k])).length;
    const limits = some.filter(Number.isFinite).length;
    at("t-cmd").textContent = (pair === SIZE ? `${nObjects} objects; the radius holds the PSF. `
      : `${nObjects} objects measured in both filters; ${limits} limits (arrows: `
      + "not detected in one of them). Crosses: median errors by magnitude. ")
      + "Magnitudes are those of a point source: from PSF fits, else in the best aperture." + isochroneWords();
    bars("cmd", measured, mag, error, list(`mag_err_${f}`), plot);
    isochrones("cmd", (m) => colourOn(m, pair), (m) => m[f]);
    return {
      cmd_x: measured.map((c, k) => (Number.isFinite(mag[k]) ? c : NaN)), cmd_y: mag, cmd_lx: some,
      cmd_tip: some.map((c, k) => c + reach * way[k]),
      cmd_turn: way.map((w) => (w > 0 ? -Math.PI / 2 : Math.PI / 2)),
    };
  }

  function ccdColumns(only, withLimits, fits) {
    const plot = model("ccd");
    const [one, two] = [at("ccd-across").value, at("ccd-up").value];
    const names = ["x", "y", "lx", "ly", "tip_x", "tip_y", "turn_x", "turn_y"];
    if (!one || !two) return Object.fromEntries(names.map((name) => [`ccd_${name}`, shown.id.map(() => NaN)]));
    const [a, b] = [colourOf(one, only), colourOf(two, only)];
    if (fits) {
      span(plot.x_range, a.measured, 0.15);
      span(plot.y_range, b.measured, 0.15);
    }
    plot.below[0].axis_label = inPair(one);
    plot.left[0].axis_label = inPair(two);
    const reach = [plot.x_range, plot.y_range].map((r) => ARROW_MAG * Math.abs(r.end - r.start) * 0.4);
    const any = (c, k) => (Number.isFinite(c.measured[k]) ? c.measured[k] : c.limit[k]);
    const isLimit = shown.id.map((_, k) => withLimits
      && (Number.isFinite(a.limit[k]) || Number.isFinite(b.limit[k])));
    const lx = isLimit.map((yes, k) => (yes ? any(a, k) : NaN));
    const ly = isLimit.map((yes, k) => (yes ? any(b, k) : NaN));
    const mag = only(list(`mag_${shown.filters[shown.filters.length - 1]}`));
    bars("ccd", a.measured.map((c, k) => c + 0 * b.measured[k]), mag, a.error, b.error, plot);
    isochrones("ccd", (m) => colourOn(m, one), (m) => colourOn(m, two));
    return {
      ccd_x: a.measured.map((c, k) => (Number.isFinite(b.measured[k]) ? c : NaN)), ccd_y: b.measured,
      ccd_lx: lx, ccd_ly: ly,
      ccd_tip_x: lx.map((x, k) => (a.way[k] ? x + reach[0] * a.way[k] : NaN)),
      ccd_tip_y: ly.map((y, k) => (b.way[k] ? y + reach[1] * b.way[k] : NaN)),
      ccd_turn_x: a.way.map((w) => (w > 0 ? -Math.PI / 2 : Math.PI / 2)),
      ccd_turn_y: b.way.map((w) => (w > 0 ? 0 : Math.PI)),
    };
  }

  function span(axis, values, pad, downwards = false) {
    const finite = values.filter(Number.isFinite).sort((a, b) => a - b);
    if (!finite.length) return;
    const share = finite.length > 100 ? 0.005 : 0;
    const [low, high] = [share, 1 - share].map((s) => finite[Math.round(s * (finite.length - 1))]);
    const ends = [low - pad - 0.03 * (high - low), high + pad + 0.03 * (high - low)];
    range(axis, ...(downwards ? ends.reverse() : ends));
  }

  // Median errors of each magnitude, as crosses at the left side of a diagram.
  function bars(name, colour, mag, xErrors, yErrors, plot) {
    const half = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
    const bins = {};
    colour.forEach((c, k) => {
      if (!Number.isFinite(c + mag[k]) || xErrors[k] === null || yErrors[k] === null) return;
      const bin = Math.floor(mag[k] / BAR_MAG);
      (bins[bin] = bins[bin] || []).push(k);
    });
    const width = plot.x_range.end - plot.x_range.start;
    const data = { x: [], y: [], left: [], right: [], low: [], high: [] };
    const keys = Object.keys(bins).map(Number).sort((a, b) => a - b);
    keys.forEach((bin, n) => {
      const rows = bins[bin];
      if (rows.length < 3) return;
      const [dx, dy] = [xErrors, yErrors].map((errors) => half(rows.map((k) => errors[k])));
      // Without an axis of magnitudes: the bright ones at the bottom.
      const y = name === "cmd" ? (bin + 0.5) * BAR_MAG
        : plot.y_range.start + (0.06 + (0.88 * n) / Math.max(keys.length, 1)) * (plot.y_range.end - plot.y_range.start);
      const x = plot.x_range.start + 0.02 * width + Math.min(dx, 0.1 * width);
      data.x.push(x); data.y.push(y);
      data.left.push(x - dx); data.right.push(x + dx);
      data.low.push(y - dy); data.high.push(y + dy);
    });
    models[`${name}_bars`].data = data;
  }

  function colourOn(magnitudes, pair) {
    const [f, g] = pair.split("_");
    if (pair === SIZE) return null;
    if (!magnitudes[f] || !magnitudes[g]) return null;
    return magnitudes[f].map((m, k) => (m === null || magnitudes[g][k] === null ? NaN : m - magnitudes[g][k]));
  }

  function isochrones(name, across, up) {
    const data = { xs: [], ys: [], label: [] };
    for (const { label, magnitudes } of shown.isochrones) {
      const [x, y] = [across(magnitudes), up(magnitudes)];
      if (x && y) {
        data.xs.push(x);
        data.ys.push(y.map((value) => (value === null ? NaN : value)));
        data.label.push(label);
      }
    }
    models[`${name}_isochrones`].data = data;
  }

  function isochroneWords() {
    const labels = shown.isochrones.map((i) => i.label);
    return labels.length ? ` Line: ${labels.join(", ")}.` : "";
  }

  // ---- the picture --------------------------------------------------------------------------------

  function fillPicture() {
    const { picture } = shown;
    const plot = model("group_picture");
    const [width, height] = picture ? picture.half : [
      Math.max(1, ...shown.x.map(Math.abs)), Math.max(1, ...shown.y.map(Math.abs))];
    models.group_image.data = picture
      ? { url: [picture.url], x: [0], y: [0], w: [2 * width], h: [2 * height] }
      : { url: [], x: [], y: [], w: [], h: [] };
    range(plot.x_range, width, -width);
    range(plot.y_range, -height, height);
    shown.half = [width, height];
    fitPicture();
    fillMotions();
    const words = picture ? colourWords(picture.colours) : "The images can't be read: no picture.";
    const note = shown.id.length < shown.total ? ` The page holds ${shown.id.length} of ${shown.total} objects, real ones first.` : "";
    at("t-group").textContent = words + note;
  }

  function colourWords([red, green, blue]) {
    if (red === blue) return `${red}, grey.`;
    return `Red ${red}, green ${green}, blue ${blue}; north is up.`;
  }

  function fitPicture() {
    if (!shown || !shown.half) return;
    const [width, height] = shown.half;
    const plot = model("group_picture");
    const room = at("group-content").querySelector(".pair > div").clientWidth - 90;
    const side = Math.max(220, Math.min(560, room)) / Math.max(width, height);
    const [w, h] = [Math.round(width * side), Math.round(height * side)];
    plot.setv({ frame_width: w, frame_height: h, width: w + 80, height: h + 90 });
  }

  // Motions of thousands of years: a round number, so that the fastest crosses an eighth.
  function fillMotions() {
    const { row, pmra, pmdec } = shown.moving;
    const sizes = row.map((_, k) => Math.hypot(pmra[k], pmdec[k]));
    const top = Math.max(...sizes, 1e-9) / 1000;
    const years = 10 ** Math.floor(Math.log10(Math.max(...shown.half) / 4 / top));
    const scale = years / 1000;
    const [x, y] = [row.map((k) => shown.x[k]), row.map((k) => shown.y[k])];
    models.motions.data = {
      x, y, x1: x.map((v, k) => v + scale * pmra[k]), y1: y.map((v, k) => v + scale * pmdec[k]),
      turn: row.map((_, k) => Math.atan2(pmdec[k], -pmra[k]) - Math.PI / 2),
    };
    at("show-motions").parentElement.hidden = !row.length;
    at("show-motions").nextSibling.textContent = row.length
      ? ` motions of 5 sigma (${row.length}), of ${years.toLocaleString("en")} years` : " motions";
  }

  // ---- light curves ----------------------------------------------------------------------------------

  function fillCurves() {
    const { curves } = shown;
    at("curve-figure").hidden = !curves.length;
    at("choose-curve").replaceChildren(...curves.map((curve, k) => make("option", { value: String(k) },
      `${shown.id[curve.row]}: varies with p ${inWords(curve.p_variable, 2)} in ${curve.varies_in}`)));
    if (curves.length) drawCurve(0);
  }

  function drawCurve(number) {
    const curve = shown.curves[number];
    if (!curve) return;
    at("choose-curve").value = String(number);
    const isDetection = curve.mag.map((mag, k) => mag !== null && curve.detected[k]);
    const mag = curve.mag.map((value, k) => (isDetection[k] || (value !== null && curve.err[k] < 0.33) ? value : curve.limit[k]));
    const isLimit = mag.map((value, k) => value !== curve.mag[k]);
    models.epochs.data = {
      mjd: curve.mjd, mag: nan(mag), filter: curve.filter,
      low: mag.map((value, k) => (isLimit[k] ? NaN : value - curve.err[k])),
      high: mag.map((value, k) => (isLimit[k] ? NaN : value + curve.err[k])),
      colour: curve.filter.map((f) => FILTER_COLOURS[shown.filters.indexOf(f) % FILTER_COLOURS.length]),
      marker: isLimit.map((is, k) => (is ? "inverted_triangle" : curve.detected[k] ? "circle" : "circle_cross")),
      said: mag.map((value, k) => (isLimit[k] ? `> ${inWords(value, 2)}` : `${inWords(value, 3)} ± ${inWords(curve.err[k], 3)}`)),
    };
    const plot = model("light_curve");
    span(plot.x_range, curve.mjd, 0.02 * Math.max(1, Math.max(...curve.mjd) - Math.min(...curve.mjd)));
    span(plot.y_range, nan(mag), 0.15, true);
  }

  // ---- what is chosen -------------------------------------------------------------------------------

  function picked(indices) {
    const place = at("chosen-objects");
    if (!indices.length) {
      place.replaceChildren(make("p", {}, "Choose objects in the picture or a diagram: click, or draw around them with the lasso."));
      return;
    }
    const curve = shown.curves.findIndex((item) => indices.includes(item.row));
    if (curve >= 0) drawCurve(curve);
    const names = ["ra", "dec", "p_real", "p_star", ...shown.filters.flatMap((f) => [`mag_${f}`, `mag_err_${f}`]),
      ...pairs().map((pair) => `colour_${pair}`), "half_light_arcsec", "n_detected"].filter((name) => columns[name]);
    const head = ["object_id", ...names].map((name) => make("th", {
      scope: "col", class: "right", title: columns[name] ? meaningOf(columns[name]) : null,
    }, name));
    const sorted = [...indices].sort((a, b) => brightness(a) - brightness(b));
    const rows = sorted.slice(0, MOST_LISTED).map((k) => make("tr", { "data-row": k },
      make("td", {}, shown.id[k]),
      ...names.map((name) => make("td", { class: "right" }, inWords(columns[name].values[k], columns[name].digits))),
      make("td", {}, flagNames(list("flags")[k] || 0).join(", "))));
    place.replaceChildren(
      make("p", { id: "n-chosen" }, `${indices.length} object${indices.length > 1 ? "s" : ""}`
        + (indices.length > MOST_LISTED ? `, the ${MOST_LISTED} brightest here` : "")),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Chosen objects" },
        make("table", { class: "plain" },
          make("thead", {}, make("tr", {}, ...head, make("th", { scope: "col" }, "flags"))),
          make("tbody", {}, ...rows))));
  }

  function brightness(k) {
    return Math.min(...shown.filters.map((f) => list(`mag_${f}`)[k] ?? 99));
  }

  // ---- start --------------------------------------------------------------------------------------------

  function start() {
    models = {};
    for (const name of ["objects", "group_image", "motions", "cmd_bars", "cmd_isochrones", "ccd_bars",
      "ccd_isochrones", "epochs"]) models[name] = source(name);
    at("p-star-scale").style.background = COLOURS_ON_WHITE;
    at("choose-group").addEventListener("change", (event) => show(Number(event.target.value)));
    at("choose-group").parentElement.hidden = about.groups.length < 2;
    for (const id of ["cmd-colour", "cmd-magnitude", "ccd-across", "ccd-up"]) {
      at(id).addEventListener("change", () => fillPlots(true));
    }
    for (const id of ["least-real", "show-limits"]) at(id).addEventListener("change", () => fillPlots(false));
    at("choose-curve").addEventListener("change", (event) => {
      const number = Number(event.target.value);
      models.objects.selected.indices = [shown.curves[number].row];
      drawCurve(number);
    });
    const part = (name) => model("group_picture").renderers.find((item) => item.name === name);
    at("show-objects").addEventListener("change", (event) => { part("group_objects").visible = event.target.checked; });
    at("show-motions").addEventListener("change", (event) => {
      for (const item of model("group_picture").renderers) {
        if (item.data_source.name === "motions") item.visible = event.target.checked;
      }
    });
    for (const button of document.querySelectorAll("button.open-group")) {
      const number = about.groups.findIndex((group) => group.key === button.dataset.key);
      button.addEventListener("click", () => show(number, true));
    }
    window.addEventListener("resize", fitPicture);
    const tools = (visible) => {
      for (const name of ["group_picture", "cmd", "ccd", "light_curve"]) model(name).toolbar.visible = visible;
    };
    window.addEventListener("beforeprint", () => tools(false));
    window.addEventListener("afterprint", () => tools(true));
    show(0);
  }

  function whenReady(tries = 0) {
    if (bycatchReport.state.models) start();
    else if (tries < 400) setTimeout(() => whenReady(tries + 1), 25);
    else at("group-state").textContent = "The plots could not be drawn.";
  }
  setTimeout(whenReady, 0);

  return { picked, show, get state() { return { shown, current, models }; } };
})();
window.bycatchGroups = bycatchGroups;
