"use strict";
// Shows the tables, the tree and the details of arrays from the data in the page, as they are asked for.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const FIRST = 100; // rows of a table, or children in the tree, that are shown at first
  const MORE = 1000;
  const PRINTED = 2000; // a longer table is printed as far as it is shown
  const NUMBERS = ["count", "float", "amount"];
  const order = new Intl.Collator("en", { numeric: true });

  // Every text becomes a text node or an attribute, never markup.
  function make(name, attributes = {}, ...children) {
    const isDrawing = ["svg", "path", "line"].includes(name);
    const element = isDrawing ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(key, value);
      else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child || child === 0));
    return element;
  }

  // A long name may break after its separators, and a long part of it after _ and - too.
  const LONG = 16;
  const breakable = (name) =>
    name
      .split(/(?<=[/.])/)
      .flatMap((part) => (part.length > LONG ? part.split(/(?<=[_-])/) : [part]))
      .flatMap((part) => [part, make("wbr")]);
  const grouped = (text) => text.replace(/\B(?=(\d{3})+$)/g, ",");
  const count = (number) => grouped(String(number));

  // Four significant digits, as every table of paramctl has, or more.
  function float(value, significant = 4) {
    if (value === 0) return "0";
    const [digits, power] = value.toExponential(significant - 1).split("e");
    const exponent = Number(power);
    const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
    if (exponent >= -4 && exponent < significant) {
      const [whole, fraction] = trim(value.toFixed(significant - 1 - exponent)).split(".");
      return grouped(whole) + (fraction ? `.${fraction}` : "");
    }
    return `${trim(digits)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }

  // The name of an array comes with its number, if the page has it.
  const named = (value) => (Array.isArray(value) ? value : [value, null]);
  const link = (value) => {
    const [name, number] = named(value);
    return number === null ? breakable(name) : [make("a", { href: `#p${number}` }, ...breakable(name))];
  };

  function text(kind, value, significant = 4) {
    if (value === null || value === undefined) return "";
    if (NUMBERS.includes(kind)) {
      if (typeof value === "string") return /^-?\d+$/.test(value) ? grouped(value) : value;
      return kind === "count" ? count(value) : float(value, significant);
    }
    return kind === "path" ? String(named(value)[0]) : String(value);
  }

  // --- arrays by number
  const arrays = data.tables.arrays ?? { fields: [], rows: [] };
  const place = Object.fromEntries(arrays.fields.map(([key], index) => [key, index]));
  const fact = (number, key) => arrays.rows[number][place[key]] ?? null;

  // --- histograms
  function bars([low, high, counts], width, height) {
    const most = Math.max(...counts);
    const step = width / counts.length;
    const isOne = counts.length === 1; // a single value has no width: a thin bar in the middle
    const [from, wide] = isOne ? [width * 0.475, width * 0.05] : [0, step * 0.92];
    const bar = (each, index) => {
      const tall = Math.max(1, (each / most) * height).toFixed(2);
      return each ? `M${(from + index * step).toFixed(2)} ${height}v-${tall}h${wide.toFixed(2)}v${tall}z` : "";
    };
    const [start, end] = [low, high].map((value) => text("float", value));
    const label = isOne ? `all values are ${start}` : `values from ${start} to ${end}`;
    return make(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, class: "bars", role: "img", "aria-label": label, preserveAspectRatio: "none" },
      make("path", { d: counts.map(bar).join("") }),
    );
  }

  // A bar whose length is the share of a value of the largest.
  function amount(value, largest) {
    const wide = value > 0 ? Math.max(1, (100 * value) / largest).toFixed(2) : 0;
    return make("svg", { viewBox: "0 0 100 4", class: "bars", "aria-hidden": "true", preserveAspectRatio: "none" }, make("path", { d: `M0 0h${wide}v4h-${wide}z` }));
  }

  function distribution(histogram) {
    const [low, high, counts] = histogram;
    const edge = (index) => float(Number(low) + ((Number(high) - Number(low)) * index) / counts.length);
    const fullest = counts.indexOf(Math.max(...counts));
    const total = count(counts.reduce((sum, each) => sum + each, 0));
    const [start, end] = [low, high].map((value) => text("float", value));
    const words =
      counts.length === 1
        ? `All of the ${total} finite values are ${start}.`
        : `${total} finite values in ${counts.length} bins. The fullest, from ${edge(fullest)} to ${edge(fullest + 1)}, has ${count(counts[fullest])}.`;
    const ends = counts.length === 1 ? ["", start, ""] : [start, end];
    const axis = make("div", { class: "axis", "aria-hidden": "true" }, ...ends.map((value) => make("span", {}, value)));
    return make("figure", {}, bars(histogram, 400, 110), axis, make("figcaption", {}, words));
  }

  // --- details of an array
  function terms(fields, row, skipped) {
    const items = fields
      .map(([key, label, kind], index) => ({ key, label, kind, value: row[index] ?? null }))
      .filter(({ key, kind, value }) => value !== null && kind !== "bars" && !skipped.includes(key))
      .map(({ key, label, kind, value }) => make("div", {}, make("dt", {}, label), make("dd", {}, ...(kind !== "path" ? [text(kind, value, 6)] : key === "path" ? breakable(named(value)[0]) : link(value)))));
    return make("dl", { class: "facts" }, ...items);
  }

  function details(number) {
    const histogram = fact(number, "bars");
    const found = (data.findings[number] ?? []).map((each) => {
      const { fields, rows } = data.tables.findings;
      const { severity, file, text: words } = Object.fromEntries(fields.map(([key, , , shown], index) => [key, shown ? rows[each][index] : null]));
      return make("p", { class: `finding ${severity}` }, make("strong", {}, `${severity}${file ? ` in ${file}` : ""}: `), words);
    });
    const changes = (data.changes[number] ?? []).map((each) => {
      const { fields, rows } = data.tables.changes;
      return make("div", { class: "changed" }, make("h3", {}, "Difference"), terms(fields, rows[each], ["path"]));
    });
    const facts = terms(arrays.fields, arrays.rows[number], ["nonfinite"]);
    return make("div", { class: "detail" }, ...found, facts, histogram && distribution(histogram), ...changes);
  }

  // --- the tree: a node is key, label, parameters, marks; and of a layer its children, bytes, type and output
  const nodes = new Map();
  const childrenOf = (node) => node[4] ?? [];
  const root = { node: ["", "", 0, 0, data.tree], parent: null, element: null, list: null };
  const entries = new Map();
  (function index(items, parent) {
    items.forEach((node, position) => {
      const entry = { node, parent, position, element: null, list: null };
      entries.set(node, entry);
      if (node[0]) nodes.set(node[0], entry);
      index(childrenOf(node), entry);
    });
  })(data.tree, root);

  function mark(number, one, many) {
    return number ? make("span", { class: "mark" }, number === 1 ? one : `${count(number)} ${many}`) : null;
  }

  function line(node) {
    const [key, label, parameters, marks] = node;
    const isArray = key.startsWith("p");
    const facts = isArray ? ["bytes", "dtype", "shape"].map((name) => fact(Number(key.slice(1)), name)) : node.slice(5);
    const [[bytes, type, output], [found, changed]] = [facts, marks || [0, 0]];
    const words = (value, unit) => [value, make("span", { class: "hidden" }, ` ${unit} `)];
    return make(
      "summary",
      { class: isArray ? "leaf" : "group" },
      make("span", { class: "name" }, label, mark(found, isArray ? "finding" : "1 with findings", "with findings"), mark(changed, isArray ? "differs" : "1 differs", "differ")),
      make("span", { class: "type" }, type),
      make("span", { class: "shape" }, output),
      make("span", { class: "n" }, ...words(parameters === null ? "unknown" : count(parameters), "parameters,")),
      make("span", { class: "n bytes" }, ...words(count(bytes), "bytes")),
    );
  }

  function build(entry) {
    if (entry.element) return entry.element;
    const [key] = entry.node;
    entry.element = make("details", { id: key || null, toggle: () => entry.element.open && fill(entry) }, line(entry.node));
    return entry.element;
  }

  // Fills in what an open node shows: the details of an array, or children up to a number of them.
  function fill(entry, most = FIRST) {
    const [key] = entry.node;
    const children = childrenOf(entry.node);
    if (key.startsWith("p")) {
      if (!entry.list) entry.element.append((entry.list = details(Number(key.slice(1)))));
      return;
    }
    if (!entry.list) entry.element.append((entry.list = children.length ? make("ul") : make("p", { class: "none" }, "No arrays here.")));
    entry.more?.remove();
    const shown = entry.list.children.length;
    entry.list.append(...children.slice(shown, most).map((node) => make("li", {}, build(entries.get(node)))));
    if (entry.list.children.length < children.length) {
      const rest = children.length - entry.list.children.length;
      entry.more = make("button", { type: "button", class: "more", click: () => fill(entry, entry.list.children.length + MORE) }, `Show ${count(Math.min(rest, MORE))} more of ${count(children.length)}`);
      entry.element.append(entry.more);
    }
  }

  function reveal(key) {
    const path = [];
    for (let entry = nodes.get(key); entry && entry !== root; entry = entry.parent) path.unshift(entry);
    if (!path.length) return false;
    for (const entry of path) {
      if (!entry.element) fill(entry.parent, Math.max(FIRST, entry.position + 1));
      fill(entry);
      entry.element.open = true;
    }
    const target = path.at(-1).element;
    document.querySelectorAll(".target").forEach((each) => each.classList.remove("target"));
    target.classList.add("target");
    target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView();
    return true;
  }

  function showTree() {
    const holder = document.getElementById("tree");
    if (!holder) return;
    const heads = ["Layer or array", "Type", "Shape", "Parameters", "Bytes"].map((head, index) => make("span", { class: index > 2 ? "n" : "" }, head));
    holder.append(make("div", { class: "heads", "aria-hidden": "true" }, ...heads));
    root.element = holder;
    fill(root);
    let entry = root; // a single outermost group is open, and so on inside it
    while (childrenOf(entry.node).length === 1 && childrenOf(childrenOf(entry.node)[0]).length) {
      entry = entries.get(childrenOf(entry.node)[0]);
      fill(entry);
      entry.element.open = true;
    }
    holder.addEventListener("keydown", moveInTree);
  }

  function moveInTree(event) {
    const from = event.target.closest("summary");
    if (!from || event.altKey || event.ctrlKey || event.metaKey) return;
    const visible = [...event.currentTarget.querySelectorAll("summary")].filter((each) => !each.parentElement.parentElement.closest("details:not([open])"));
    const at = visible.indexOf(from);
    const own = from.parentElement;
    const moves = {
      ArrowDown: () => visible[at + 1],
      ArrowUp: () => visible[at - 1],
      Home: () => visible[0],
      End: () => visible.at(-1),
      ArrowRight: () => (own.open ? visible[at + 1] : void (own.open = true)),
      ArrowLeft: () => (own.open ? void (own.open = false) : own.parentElement.closest("details")?.firstElementChild),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]()?.focus();
  }

  // --- the tables
  const tables = [];

  function showTable(holder) {
    const { caption, fields, rows } = data.tables[holder.dataset.table];
    const columns = fields.map(([key, label, kind, shown], index) => ({ key, label, kind, shown, index })).filter((each) => each.shown);
    const state = { sorted: null, falling: false, words: "", most: FIRST, chosen: rows };
    const hasFilter = rows.length > 10;
    const body = make("tbody");
    const status = make("p", { class: "count", role: "status" });
    const more = make("button", { type: "button", class: "more", click: () => draw((state.most += MORE)) });
    const isNumber = (column) => NUMBERS.includes(column.kind);
    const largest = (column) => rows.reduce((most, row) => Math.max(most, row[column.index] ?? 0), 0);
    for (const column of columns) if (column.kind === "amount") column.largest = largest(column);

    function cell(column, row) {
      const value = row[column.index] ?? null;
      if (column.kind === "bars") return make("td", { class: "chart" }, value && bars(value, 120, 24));
      const words = text(column.kind, value);
      const style = isNumber(column) ? "n" : column.key === "severity" ? words : column.kind === "text" ? column.key : column.kind;
      const content = column.kind === "path" ? link(value) : column.kind === "amount" ? [words, value === null ? null : amount(value, column.largest)] : [words];
      return column.index || column.kind !== "path" ? make("td", { class: style }, ...content) : make("th", { scope: "row", class: style }, ...content);
    }

    function draw() {
      const shown = state.chosen.slice(0, state.most);
      body.replaceChildren(...shown.map((row) => make("tr", {}, ...columns.map((column) => cell(column, row)))));
      const total = rows.length === 1 ? "1 row" : `${count(rows.length)} rows`;
      const matching = state.words ? `${count(state.chosen.length)} of ${total} match` : total;
      if (hasFilter) status.textContent = shown.length < state.chosen.length ? `${matching}, the first ${count(shown.length)} are shown` : matching;
      more.hidden = shown.length >= state.chosen.length;
      more.textContent = `Show ${count(Math.min(MORE, state.chosen.length - shown.length))} more`;
    }

    function choose() {
      const wanted = state.words.toLowerCase().split(/\s+/).filter(Boolean);
      const texts = columns.filter((column) => !isNumber(column) && column.kind !== "bars");
      const matches = (row) => {
        const all = texts.map((column) => text(column.kind, row[column.index])).join("\n").toLowerCase();
        return wanted.every((word) => all.includes(word));
      };
      state.chosen = wanted.length ? rows.filter(matches) : [...rows];
      if (state.sorted) state.chosen.sort(compare(state.sorted, state.falling));
      state.most = FIRST;
      draw();
    }

    // A value that is unknown comes last in both directions.
    function compare(column, falling) {
      return (one, other) => {
        const [a, b] = [one[column.index] ?? null, other[column.index] ?? null];
        if (a === null || b === null) return (a === null) - (b === null);
        const sign = isNumber(column) ? (parseFloat(a) > parseFloat(b)) - (parseFloat(a) < parseFloat(b)) : order.compare(String(a), String(b));
        return falling ? -sign : sign;
      };
    }

    function sort(column) {
      const first = isNumber(column); // numbers fall first; the third press restores the order of the file
      if (state.sorted !== column) [state.sorted, state.falling] = [column, first];
      else if (state.falling === first) state.falling = !first;
      else state.sorted = null;
      for (const each of columns) {
        const direction = each === state.sorted ? (state.falling ? "descending" : "ascending") : "none";
        if (each.head.hasAttribute("aria-sort")) each.head.setAttribute("aria-sort", direction);
      }
      choose();
    }

    for (const column of columns) {
      const name = column.kind === "bars" ? column.label : make("button", { type: "button", click: () => sort(column) }, column.label);
      column.head = make("th", { scope: "col", class: isNumber(column) ? "n" : "", "aria-sort": column.kind === "bars" ? null : "none" }, name);
    }
    const field = make("input", { type: "search", autocomplete: "off", spellcheck: "false", input: () => ((state.words = field.value), choose()) });
    const bar = make("div", { class: "bar" }, hasFilter && make("label", {}, "Filter ", field), status);
    const head = make("thead", {}, make("tr", {}, ...columns.map((column) => column.head)));
    const table = make("table", {}, make("caption", { class: "hidden" }, caption), head, body);
    holder.append(bar, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${caption}, table` }, table), more);
    choose();
    tables.push({ state, draw });
  }

  addEventListener("beforeprint", () => {
    for (const { state, draw } of tables) {
      state.before = state.most;
      if (state.chosen.length <= PRINTED) draw((state.most = state.chosen.length));
    }
  });
  addEventListener("afterprint", () => tables.forEach(({ state, draw }) => draw((state.most = state.before))));

  // --- links
  function follow(hash) {
    const key = hash.slice(1);
    if (reveal(key)) return true;
    const target = document.getElementById(key);
    target?.scrollIntoView();
    return Boolean(target);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // Inside a notebook a fragment would lead to the notebook's own page.
    event.preventDefault();
    const hash = link.getAttribute("href");
    if (follow(hash) && location.protocol !== "about:") history.pushState(null, "", hash);
    if (!nodes.has(hash.slice(1))) {
      const target = document.getElementById(hash.slice(1));
      target?.setAttribute("tabindex", "-1");
      target?.focus({ preventScroll: true });
    }
  });
  addEventListener("popstate", () => location.hash && follow(location.hash));

  // --- the treemap is one stop of the Tab key; arrow keys move in it
  const tiles = [...document.querySelectorAll(".map a")];
  tiles.forEach((tile, index) => (tile.tabIndex = index ? -1 : 0));
  document.querySelector(".map")?.addEventListener("keydown", (event) => {
    const at = tiles.indexOf(event.target);
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: tiles.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    if (!tiles[next]) return;
    tiles[at].tabIndex = -1;
    tiles[next].tabIndex = 0;
    tiles[next].focus();
  });

  showTree();
  document.querySelectorAll("[data-table]").forEach(showTable);
  if (location.hash) follow(location.hash);
})();
