"use strict";
// The page's own code: it unpacks the chosen image, fills the plots and the tables, and keeps
// what is chosen in a plot and in a table the same.
const bycatchReport = (() => {
  const about = JSON.parse(document.getElementById("about").textContent);
  const at = (id) => document.getElementById(id);
  const ROWS_PER_PAGE = 25;
  const MANY_RAYS = 300;
  const PLOTS = ["picture", "counts", "errors", "shapes", "residuals"];
  const WITH_KINDS = ["picture", "errors", "shapes"];
  let models = null;
  let shown = null;       // the content of the chosen image
  let columns = {};       // its columns by name
  let chosen = -1;        // the row that is chosen
  let current = -1;       // number of the chosen image
  const waiting = {};     // who waits for content that comes from files beside the page
  const there = {};       // what came with it: a file holds all images of a field

  // ---- small things -------------------------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "onclick") node.addEventListener("click", value);
      else if (value !== null && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function inWords(value, digits) {
    return value === null || value === undefined ? "-" : value.toFixed(digits);
  }

  function meaningOf(column) {
    return column.unit ? `${column.meaning} [${column.unit}]` : column.meaning;
  }

  function flagNames(value) {
    return about.flags.filter((flag) => value & flag.bit).map((flag) => flag.name.replaceAll("_", " "));
  }

  function compare(a, b) {
    const [noA, noB] = [a === null || a === "", b === null || b === ""];
    if (noA || noB) return noA - noB;
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? String(a).localeCompare(String(b)) : x - y;
  }

  // What is missing stays at the end in both directions.
  function ordered(items, value, down) {
    const empty = (v) => v === null || v === undefined || v === "";
    return [...items].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (empty(x) || empty(y)) return empty(x) - empty(y);
      return down ? compare(y, x) : compare(x, y);
    });
  }

  function turn(headers, header) {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of headers) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    return down;
  }

  // ---- the tables on top ----------------------------------------------------------------------

  function makeSortable(table) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, k) => {
      header.firstElementChild.addEventListener("click", () => {
        const down = turn(headers, header);
        const body = table.tBodies[0];
        body.append(...ordered([...body.rows], (row) => row.cells[k].dataset.value, down));
      });
    });
  }

  // The images of a large run: those whose row holds all the words.
  function filterImages() {
    const words = at("filter-images").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const onlyProblems = at("filter-warned").checked;
    const rows = [...at("images").tBodies[0].rows];
    let n = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      row.hidden = !(fits && (!onlyProblems || row.querySelector("td.warn, td.bad")));
      if (!row.hidden) n += 1;
    }
    at("n-images").textContent = `${n} of ${rows.length} images`;
  }

  // ---- content ----------------------------------------------------------------------------------

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // The content of an image or a group: in an element of the page, or in a file beside it.
  function packedText(place, { key, file }) {
    const inside = at(place);
    if (inside) return Promise.resolve(inside.textContent);
    if (key in there) return Promise.resolve(there[key]);
    return new Promise((resolve, reject) => {
      waiting[key] = resolve;
      const script = make("script", { src: file });
      script.addEventListener("error", () =>
        reject(new Error(`${file} is missing beside the report`)));
      document.head.append(script);
    });
  }

  function arrived(key, text) {
    there[key] = text;
    if (key in waiting) waiting[key](text);
    delete waiting[key];
  }

  async function show(number, scroll = false) {
    if (number < 0 || number >= about.images.length) return;
    current = number;
    const image = about.images[number];
    at("state").textContent = `Loading ${image.title} ...`;
    let content;
    try {
      content = await unpacked(await packedText(`packed-${number}`, image));
    } catch (error) {
      at("state").textContent = `${image.title} can't be shown: ${error.message}`;
      at("content").hidden = true;
      return;
    }
    if (number !== current) return;  // another one was chosen meanwhile
    shown = content;
    chosen = -1;
    at("choose").value = String(number);
    at("h-image").textContent = image.title;
    at("content").hidden = Boolean(content.problem);
    for (const row of at("images").tBodies[0].rows) {
      const mine = row.dataset.key === image.key;
      row.classList.toggle("chosen", mine);
      if (mine) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current");
    }
    at("state").textContent = content.problem || "";
    if (!content.problem) fill();
    document.body.dataset.shown = image.key;
    keepAddress();
    if (scroll) {
      at("image").scrollIntoView({ block: "start" });
      at("image").focus({ preventScroll: true });
    }
  }

  function fill() {
    columns = {};
    for (const column of shown.sources ? shown.sources.columns : []) columns[column.name] = column;
    fillPlots();
    fillKinds();
    fillExposures();
    fillPsf();
    fillCutouts();
    sourceTable.start();
    fillRemoved();
    tellSource(-1);
  }

  function list(name) {
    const column = columns[name];
    if (column) return column.values;
    return shown.sources ? shown.sources.kind.map(() => null) : [];
  }

  function named(kind) {
    return shown.sources ? kind.replace("{r}", shown.sources.radius) : kind;
  }

  const nan = (values) => values.map((value) => (value === null ? NaN : value));

  // ---- the address ----------------------------------------------------------------------------

  // It holds image and source, so that a view can be shared: #image=FIELD/FILTER/ROOT&source=17
  function keepAddress() {
    const parts = [`image=${encodeURIComponent(about.images[current].key)}`];
    if (chosen >= 0) parts.push(`source=${list("id")[chosen]}`);
    history.replaceState(null, "", `#${parts.join("&")}`);
  }

  // Shows what the address asks for, and tells whether it asks for anything.
  async function followAddress(scroll) {
    const address = new URLSearchParams(location.hash.slice(1));
    const number = about.images.findIndex((image) => image.key === address.get("image"));
    if (number < 0) return false;
    const id = address.get("source");
    if (number !== current || !shown) await show(number, scroll && !id);
    else if (scroll && !id) at("image").scrollIntoView({ block: "start" });
    const row = id === null ? -1 : list("id").indexOf(Number(id));
    if (row >= 0) choose(row, true);
    return true;
  }

  // ---- the plots ----------------------------------------------------------------------------------

  function model(name) {
    for (const document_ of Bokeh.documents) {
      const model = document_.get_model_by_name(name);
      if (model) return model;
    }
    throw new Error(`no plot part ${name}`);
  }

  function range(axis, start, end) {
    axis.setv({ start, end, reset_start: start, reset_end: end });
  }

  function fillPlots() {
    const rows = shown.sources;
    const kinds = rows ? rows.kind : [];
    const shape = shown.shape || { name: "fwhm", label: "FWHM, px", locus: null };
    models.sources.selected.indices = [];
    models.sources.data = {
      row: kinds.map((_, k) => k),
      id: list("id"),
      x: nan(list("x_center")),
      y: nan(list("y_center")),
      mag: nan(list(named("mag_ab_{r}"))),
      err: nan(list(named("mag_ab_err_{r}"))),
      shape: nan(list(shape.name)),
      snr: nan(list(named("snr_{r}"))),
      kind: kinds,
      text: list("flags").map((value) => flagNames(value || 0).join(", ") || "none"),
    };
    fillPicture(kinds);
    fillCounts();
    for (const name of WITH_KINDS) {
      for (const item of model(name).below.find((part) => part.items).items) {
        const kind = item.label.value;
        if (about.kinds[kind]) item.visible = kinds.includes(kind);
      }
    }
    models.curve.data = shown.curve ? { x: shown.curve.mag, y: shown.curve.err } : { x: [], y: [] };
    const mags = list(named("mag_ab_{r}"));
    // Fainter than their noise: no use on an axis.
    const errors = list(named("mag_ab_err_{r}")).map((value) => (value < 1.0857 ? value : null));
    const withError = (values) => values.map((value, k) => (errors[k] === null ? null : value));
    const bright = middle(withError(mags), 0, 1);
    fit("errors", bright, middle(errors, 0.002, 1), true);
    const shapes = middle(withError(list(shape.name)), 0.004, shape.name === "fwhm" ? 0.95 : 0.996);
    if (shapes && shape.locus !== null) {
      shapes[0] = Math.min(shapes[0], shape.locus);
      shapes[1] = Math.max(shapes[1], shape.locus);
    }
    fit("shapes", bright, shapes, false);
    models.locus.data = shape.locus === null || !bright
      ? { x: [], y: [] } : { x: [0, 50], y: [shape.locus, shape.locus] };
    model("shapes").left[0].axis_label = shape.name === "fwhm" ? "FWHM, px" : `${shape.name}, mag`;
    at("t-shapes").textContent = `${shape.label[0].toUpperCase()}${shape.label.slice(1)}. Line: `
      + (shape.n_stars ? `locus of the image's stars (${shape.n_stars} of them).`
        : shape.name === "fwhm" ? "median." : "expected of stars; the image has too few.");
    fillResiduals();
  }

  // The range of the values but for a share at both ends, which are no use on an axis.
  function middle(values, low, high) {
    const finite = values.filter((value) => value !== null).sort((a, b) => a - b);
    if (!finite.length) return null;
    return [low, high].map((share) => finite[Math.round(share * (finite.length - 1))]);
  }

  function fit(name, x, y, logarithmic) {
    if (!x || !y) return;
    const plot = model(name);
    const pad = 0.08 * (y[1] - y[0]) + 0.01;
    range(plot.x_range, x[0] - 0.4, x[1] + 0.4);
    if (logarithmic) range(plot.y_range, Math.max(y[0], 5e-4) / 1.6, Math.max(y[1], 0.01) * 1.6);
    else range(plot.y_range, y[0] - pad, y[1] + pad);
  }

  // Outlines of the kinds that the legend shows.
  function fillOutlines() {
    const outlines = shown && shown.sources ? shown.sources.outlines : { row: [], xs: [], ys: [] };
    const kinds = shown && shown.sources ? shown.sources.kind : [];
    const rows = outlines.row.map((_, k) => k)
      .filter((k) => renderer(kinds[outlines.row[k]]).visible);
    // Twice the first corner, then the steps: back to corners, and once around.
    const absolute = (steps) => {
      let sum = 0;
      const line = steps.map((step) => (sum += step) / 2);
      return [...line, line[0]];
    };
    models.outlines.data = {
      xs: rows.map((k) => absolute(outlines.xs[k])),
      ys: rows.map((k) => absolute(outlines.ys[k])),
      colour: rows.map((k) => about.kinds[kinds[outlines.row[k]]].colour),
    };
  }

  function fillPicture(kinds) {
    const picture = shown.picture;
    // Thousands of cosmic rays would cover all that one wants to see.
    const rays = kinds.filter((kind) => kind === "cosmic ray").length;
    renderer("cosmic ray").visible = rays <= MANY_RAYS;
    at("t-rays").textContent = rays > MANY_RAYS ? `${rays} cosmic rays are hidden: the legend shows them.` : "";
    fillOutlines();
    const removals = shown.removed || { x: [], y: [], id: [], reason: [] };
    models.removed.data = { x: nan(removals.x), y: nan(removals.y), id: removals.id, reason: removals.reason };
    const plot = model("picture");
    if (!picture) {
      models.image.data = { url: [], x: [], y: [], w: [], h: [] };
      return;
    }
    models.image.data = { url: [picture.url], x: [-0.5], y: [-0.5], w: [picture.width], h: [picture.height] };
    fitPicture();
    range(plot.x_range, -0.5, picture.nx - 0.5);
    range(plot.y_range, -0.5, picture.ny - 0.5);
  }

  // The picture keeps its shape, and is as large as the window allows.
  function fitPicture() {
    if (!shown || !shown.picture) return;
    const { nx, ny } = shown.picture;
    const plot = model("picture");
    const side = Math.max(220, Math.min(680, at("content").clientWidth - 95)) / Math.max(nx, ny);
    const [width, height] = [Math.round(nx * side), Math.round(ny * side)];
    plot.setv({ frame_width: width, frame_height: height, width: width + 80, height: height + 120 });
  }

  function fillCounts() {
    const bins = shown.histogram;
    const limits = shown.limits || [];
    models.bins.data = bins
      ? { left: bins.edges.slice(0, -1), right: bins.edges.slice(1), all: bins.all, clean: bins.clean }
      : { left: [], right: [], all: [], clean: [] };
    const lines = limits.filter((limit) => limit.drawn);
    const top = bins ? 3 * Math.max(10, ...bins.all) : 10;
    models.limits.data = {
      x: lines.map((limit) => limit.mag),
      y0: lines.map(() => 0.5),
      y1: lines.map(() => top),
      label: lines.map((limit) => `${limit.label}${limit.of && ` of ${limit.of}`} `),
      baseline: lines.map((limit) => (limit.side === "left" ? "bottom" : "top")),
      offset: lines.map((limit) => (limit.side === "left" ? -3 : 3)),
    };
    const plot = model("counts");
    range(plot.y_range, 0.5, top);
    if (bins) {
      const ends = [...bins.edges, ...lines.map((limit) => limit.mag)];
      range(plot.x_range, Math.min(...ends) - 0.3, Math.max(...ends) + 0.3);
    }
    const kinds = [...new Set(limits.map((limit) => limit.of))];
    at("t-counts").textContent = kinds.map((kind) => {
      const words = limits.filter((limit) => limit.of === kind)
        .map((limit) => `${limit.label} at ${limit.mag.toFixed(2)}${limit.error ? ` ± ${limit.error.toFixed(2)}` : ""}`)
        .join(", ");
      return kind ? `complete in ${kind}: ${words}` : words;
    }).join("; ") + (shown.false_share ? `. ${shown.false_share}` : "");
  }

  function fillResiduals() {
    const residuals = shown.residuals;
    const pairs = residuals || { dra: [], ddec: [], dra_err: [], ddec_err: [], g: [], weight: [], star: [] };
    const strong = pairs.weight.map((weight) => weight > 0.3);
    const sum = (values, errors, sign) => values.map((value, k) => value + sign * (errors[k] || 0));
    models.pairs.data = {
      dra: pairs.dra, ddec: pairs.ddec, g: pairs.g, weight: pairs.weight, star: pairs.star,
      left: sum(pairs.dra, pairs.dra_err, -1), right: sum(pairs.dra, pairs.dra_err, 1),
      low: sum(pairs.ddec, pairs.ddec_err, -1), high: sum(pairs.ddec, pairs.ddec_err, 1),
      marker: strong.map((good) => (good ? "circle" : "square")),
      colour: strong.map((good) => (good ? "#0072B2" : "#777777")),
    };
    const rms = residuals && residuals.rms[0] !== null ? Math.hypot(...residuals.rms) / Math.SQRT2 : null;
    models.rms.data = rms ? { x: [0], y: [0], r: [rms] } : { x: [], y: [], r: [] };
    const sizes = pairs.dra.map((x, k) => Math.max(Math.abs(x), Math.abs(pairs.ddec[k])))
      .filter((_, k) => strong[k]);
    const reach = 1.25 * Math.max(2, 2 * (rms || 0), ...sizes);
    const plot = model("residuals");
    range(plot.x_range, reach, -reach);
    range(plot.y_range, -reach, reach);
    at("t-residuals").textContent = !residuals ? "There is no alignment."
      : `Grade ${residuals.grade}: ${residuals.reason}. ` + (rms
        ? `${pairs.dra.length} stars in this image; dashed: rms per axis, ${rms.toFixed(1)} mas; squares: outliers.`
        : "No Gaia stars in this image.");
  }

  // ---- what is chosen -------------------------------------------------------------------------------

  function picked(indices) {
    const row = indices.length ? indices[0] : -1;
    if (row === chosen) return;
    chosen = row;
    tellSource(row);
    sourceTable.reveal(row);
    keepAddress();
  }

  function choose(row, zoom) {
    models.sources.selected.indices = [row];
    picked([row]);
    if (!zoom || !shown.picture) return;
    lookAt(list("x_center")[row], list("y_center")[row]);
    toPicture();
  }

  // Scrolls to the picture where it is out of sight.
  function toPicture() {
    const box = document.querySelector("figure.wide").getBoundingClientRect();
    if (box.top < 0 || box.top + 0.7 * box.height > window.innerHeight) {
      at("image").scrollIntoView({ block: "start" });
    }
  }

  function lookAt(x, y) {
    const plot = model("picture");
    const half = Math.min(120, Math.max(shown.picture.nx, shown.picture.ny) / 2);
    const flat = shown.picture.ny / shown.picture.nx;
    plot.x_range.setv({ start: x - half, end: x + half });
    plot.y_range.setv({ start: y - half * flat, end: y + half * flat });
  }

  function tellSource(row) {
    const place = at("source");
    for (const part of [place, at("h-source")]) part.classList.toggle("empty", row < 0);
    if (row < 0) {
      place.replaceChildren(make("p", {}, shown.sources
        ? "Click a source in a plot, or its number in the table." : "There is no catalog."));
      return;
    }
    const lines = make("dl", {});
    lines.append(make("dt", {}, "kind"), make("dd", {}, shown.sources.kind[row]));
    for (const column of shown.sources.columns) {
      const value = column.values[row];
      const text = column.name === "flags"
        ? `${value}: ${flagNames(value).join(", ") || "nothing is wrong"}`
        : inWords(value, column.digits) + (value !== null && column.unit ? ` ${column.unit}` : "");
      lines.append(make("dt", { title: column.meaning }, column.name), make("dd", {}, text));
    }
    place.replaceChildren(lines);
    place.dataset.row = String(row);
  }

  // ---- the table of the sources ----------------------------------------------------------------------

  // With kind and flags these are the fifteen that are read first; the box shows all.
  const IN_TABLE = ["id", "x_center", "y_center", "RA_GAIA_WCS", "DEC_GAIA_WCS", "mag_ab_{r}",
    "mag_ab_err_{r}", "snr_{r}", "mag_ab_kron", "fwhm", "p_star", "p_cr", "n_exp"];

  const sourceTable = {
    rows: [], page: 0,

    start() {
      const place = at("source-table");
      if (!shown.sources) {
        place.replaceChildren(make("p", {}, "There is no catalog."));
        at("n-sources").textContent = "";
        return;
      }
      const names = at("all-columns").checked
        ? shown.sources.columns.map((column) => column.name).filter((name) => name !== "flags")
        : IN_TABLE.map(named).filter((name) => columns[name]);
      this.names = names;
      const titles = [...names.map((name) => [name, columns[name]]), ["kind", null], ["flags", null]];
      this.headers = titles.map(([name, column]) => make("th",
        { scope: "col", "aria-sort": "none", class: column ? "right" : null },
        make("button", { type: "button", title: column ? `${meaningOf(column)}; click to sort` : "click to sort",
          onclick: (event) => this.sort(event.currentTarget.parentElement, name) }, name)));
      this.body = make("tbody");
      this.foot = make("span", { role: "status" });
      place.replaceChildren(
        make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Sources" },
          make("table", { id: "sources" }, make("caption", { class: "unseen" }, "Sources of the image"),
            make("thead", {}, make("tr", {}, ...this.headers)), this.body)),
        make("div", { class: "pages" },
          make("button", { type: "button", id: "back", onclick: () => this.go(this.page - 1) }, "back"),
          make("button", { type: "button", id: "forward", onclick: () => this.go(this.page + 1) }, "forward"),
          this.foot));
      this.order = shown.sources.kind.map((_, k) => k);
      this.filter();
    },

    value(name) {
      if (name === "kind") return (row) => shown.sources.kind[row];
      return (row) => list(name)[row];
    },

    sort(header, name) {
      this.order = ordered(this.order, this.value(name), turn(this.headers, header));
      this.filter();
    },

    filter() {
      if (!shown || !shown.sources) return;
      const kind = at("filter-kind").value;
      const bit = Number(at("filter-flag").value);
      const number = at("filter-id").value.trim();
      const [flags, ids] = [list("flags"), list("id")];
      this.rows = this.order.filter((row) => (!kind || shown.sources.kind[row] === kind)
        && (!bit || flags[row] & bit) && (!number || String(ids[row]) === number));
      const { total } = shown.sources;
      const nRows = shown.sources.kind.length;
      at("n-sources").textContent = `${this.rows.length} rows`
        + (nRows < total ? `; the page holds the ${nRows} brightest of ${total}, cosmic rays last` : ` of ${total}`);
      this.go(0);
    },

    go(page) {
      const n_pages = Math.max(1, Math.ceil(this.rows.length / ROWS_PER_PAGE));
      this.page = Math.min(Math.max(page, 0), n_pages - 1);
      const part = this.rows.slice(this.page * ROWS_PER_PAGE, (this.page + 1) * ROWS_PER_PAGE);
      this.body.replaceChildren(...part.map((row) => this.line(row)));
      this.foot.textContent = `page ${this.page + 1} of ${n_pages}`;
      at("back").disabled = this.page === 0;
      at("forward").disabled = this.page === n_pages - 1;
    },

    line(row) {
      const cells = this.names.map((name) => {
        const text = inWords(columns[name].values[row], columns[name].digits);
        if (name !== "id") return make("td", { class: "right" }, text);
        return make("td", { class: "right" }, make("button", { type: "button", class: "row",
          title: "show in the picture" }, text));
      });
      cells.push(make("td", {}, shown.sources.kind[row]),
        make("td", {}, flagNames(list("flags")[row] || 0).join(", ")));
      return make("tr", { "data-row": row, class: row === chosen ? "chosen" : null,
        "aria-current": row === chosen ? "true" : null, onclick: () => choose(row, true) }, ...cells);
    },

    reveal(row) {
      if (!this.body) return;
      const where = this.rows.indexOf(row);
      if (where >= 0) this.go(Math.floor(where / ROWS_PER_PAGE)); else this.go(this.page);
    },
  };

  // ---- the rest ------------------------------------------------------------------------------------

  const SHAPES = { circle: "○", square: "□", x: "✕", triangle: "△", diamond: "◇" };

  function fillKinds() {
    const counts = shown.sources ? shown.sources.counts : {};
    at("kinds").tBodies[0].replaceChildren(...Object.entries(about.kinds).map(([kind, style]) =>
      make("tr", {},
        make("td", {}, make("span", { style: `color:${style.colour};font-weight:700`, "aria-hidden": "true" },
          `${SHAPES[style.shape]} `), kind),
        make("td", { class: "right" }, String(counts[kind] || 0)),
        make("td", {}, style.meaning))));
  }

  function fillExposures() {
    const exposures = shown.exposures;
    if (!exposures) {
      at("exposures").replaceChildren(make("p", {}, "The drizzled image can't be read: no picture, no map."));
      return;
    }
    const text = exposures.legend.map(([n, , share]) => `${n}: ${(100 * share).toFixed(0)} %`).join(", ");
    at("exposures").replaceChildren(
      make("img", { src: exposures.url, alt: `Map of the number of exposures; fraction of the area: ${text}` }),
      make("p", { class: "small" }, ...exposures.legend.flatMap(([n, colour, share]) => [
        make("span", { class: "swatch", style: `background:${colour}`, "aria-hidden": "true" }),
        `${n}: ${(100 * share).toFixed(1)} %  `,
      ]), exposures.guessed ? "(guessed from the weight)" : "of the area with data"));
  }

  function fillPsf() {
    const place = at("psf");
    const psf = shown.psf;
    place.replaceChildren();
    if (!psf) return;
    const part = ({ url, n, share }) => make("div", {},
      url ? make("img", { src: url, alt: `Mean of what is left of ${n} stars: ${share} % of their light` }) : make("i", {}),
      make("span", {}, n ? `${n}: ${share} %` : "no star"));
    const last = psf.side - 1;
    const where = `x ${psf.corner[0]} to ${psf.corner[0] + last}, y ${psf.corner[1]} to ${psf.corner[1] + last}`;
    place.append(make("h3", {}, "PSF"), make("div", { class: "psf" },
      make("figure", {}, make("img", { src: psf.model, alt: "The PSF in the middle of the image" }),
        make("figcaption", {}, psf.origin === "stars"
          ? `Model in the middle of the image, logarithmic to 1e-4 of its maximum; from ${psf.n_stars} stars, FWHM ${psf.fwhm} px.`
          : `Model, logarithmic to 1e-4 of its maximum: the published curve, FWHM ${psf.fwhm} px.`)),
      make("figure", {}, make("div", { class: "ninths" }, ...psf.left.map(part)),
        make("figcaption", {}, "What it leaves of its stars, mean by ninths of the image: number of stars, fraction of their light left within 4 detector px. Red: light left, blue: too much taken; deepest at 5 % of the star's maximum.")),
      make("figure", {}, make("img", { src: psf.piece, alt: "A piece of the image" }),
        make("figcaption", {}, `The piece with the most stars: ${where}.`)),
      make("figure", {}, make("img", { src: psf.rest, alt: "The same piece without the fitted stars" }),
        make("figcaption", {}, "The same without sky and fitted stars, in the same greys."))));
  }

  function fillCutouts() {
    const place = at("cutouts");
    place.replaceChildren();
    const cutouts = shown.cutouts || [];
    for (const group of ["worst flags", "brightest cosmic-ray candidates"]) {
      const members = cutouts.filter((cutout) => cutout.group === group);
      place.append(make("p", { class: "group" }, `Sources with the ${group}`.replace("Sources with the brightest", "Brightest")));
      if (!members.length) place.append(make("p", { class: "small" }, "none"));
      place.append(make("div", { class: "strip" }, ...members.map((cutout) =>
        make("button", { type: "button", onclick: () => choose(cutout.row, true) },
          make("img", { src: cutout.url, alt: "" }), make("b", {}, `source ${cutout.id}`), make("span", {}, cutout.flags)))));
    }
  }

  function fillRemoved() {
    const place = at("removed");
    const removals = shown.removed;
    if (!removals) {
      place.replaceChildren(make("p", {}, "There is no list of removed detections."));
      return;
    }
    const nListed = removals.id.length;
    const parts = [make("p", {}, `${removals.total} detections were left out`
      + (removals.reasons.length ? `: ${removals.reasons.map(([why, n]) => `${why} (${n})`).join(", ")}.` : "."))];
    if (nListed) {
      const names = [["id", "id", 0], ["x", "x, px", 1], ["y", "y, px", 1], ["area", "area, px", 0],
        ["flux", "flux, e/s", 3]];
      const table = make("table", { id: "removed-table", class: "sortable plain" },
        make("thead", {}, make("tr", {}, ...[...names.map((name) => name[1]), "reason"].map((text) =>
          make("th", { scope: "col", "aria-sort": "none" }, make("button", { type: "button" }, text))))),
        make("tbody", {}, ...removals.id.map((_, k) => make("tr", {},
          ...names.map(([name, , digits]) => make("td", { class: "right", "data-value": removals[name][k] ?? "" },
            inWords(removals[name][k], digits))),
          make("td", { "data-value": removals.reason[k] }, removals.reason[k])))));
      makeSortable(table);
      parts.push(make("details", {}, make("summary", {}, nListed < removals.total
        ? `the ${nListed} brightest` : "the list"), table));
    }
    place.replaceChildren(...parts);
  }

  // ---- start ------------------------------------------------------------------------------------------

  function start() {
    const names = ["sources", "outlines", "removed", "image", "bins", "limits", "curve", "locus", "pairs", "rms"];
    models = {};
    for (const name of names) models[name] = source(name);
    for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
    for (const button of document.querySelectorAll("button.open:not(.open-group)")) {
      const number = about.images.findIndex((image) => image.key === button.dataset.key);
      button.addEventListener("click", () => show(number, true));
    }
    at("choose").addEventListener("change", (event) => show(Number(event.target.value)));
    at("previous").addEventListener("click", () => show(Math.max(current - 1, 0)));
    at("next").addEventListener("click", () => show(Math.min(current + 1, about.images.length - 1)));
    for (const id of ["filter-kind", "filter-flag", "filter-id"]) {
      at(id).addEventListener("input", () => sourceTable.filter());
    }
    at("show-outlines").addEventListener("change", (event) => { renderer("outline").visible = event.target.checked; });
    at("show-removed").addEventListener("change", (event) => { renderer("removed").visible = event.target.checked; });
    for (const kind of Object.keys(about.kinds)) {
      renderer(kind).properties.visible.change.connect(fillOutlines);
    }
    window.addEventListener("resize", fitPicture);
    // The tools of the plots are no use on paper.
    const tools = (visible) => {
      for (const name of PLOTS) model(name).toolbar.visible = visible;
    };
    window.addEventListener("beforeprint", () => tools(false));
    window.addEventListener("afterprint", () => tools(true));
    at("all-columns").addEventListener("change", () => sourceTable.start());
    at("share").addEventListener("click", () => {
      navigator.clipboard?.writeText(location.href).then(() => { at("share").textContent = "copied"; }, () => {});
    });
    if (at("filter-images")) {
      at("filter-images").addEventListener("input", filterImages);
      at("filter-warned").addEventListener("change", filterImages);
      filterImages();
    }
    window.addEventListener("hashchange", () => followAddress(true));
    if (about.images.length) followAddress(false).then((asked) => asked || show(about.first));
    else {
      at("state").textContent = "There is no image to show.";
      at("content").hidden = true;
    }
  }

  function renderer(name) {
    return model("picture").renderers.find((part) => part.name === name);
  }

  // A data source and a renderer may bear the same name.
  function source(name) {
    for (const document_ of Bokeh.documents) {
      for (const found of document_._all_models.values()) {
        if (found.name === name && found.type === "ColumnDataSource") return found;
      }
    }
    throw new Error(`no data ${name}`);
  }

  // Bokeh draws when it is ready; there is no promise of its to wait for.
  function whenDrawn(tries = 0) {
    const isReady = window.Bokeh && Bokeh.documents.length && Object.keys(Bokeh.index).length >= 1
      && Bokeh.documents.length >= (about.groups.length ? 2 : 1);
    if (isReady) start();
    else if (tries < 400) setTimeout(() => whenDrawn(tries + 1), 25);
    else at("state").textContent = "The plots could not be drawn.";
  }
  whenDrawn();

  return { arrived, picked, show, choose, about, at, make, inWords, meaningOf, flagNames, middle, nan, model,
    range, source, packedText, unpacked, view: (name) => model(name).x_range,
    get state() { return { shown, chosen, current, models }; } };
})();
window.bycatchReport = bycatchReport;
