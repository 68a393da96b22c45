"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const items = data.items;
  const count = items.pid.length;
  const RESULTS = 40;
  const NEIGHBOURS = 6;
  const SMALLEST_LABEL = 9; // pixels
  const byId = (id) => document.getElementById(id);
  const number = (value) => value.toLocaleString("en-US");
  const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

  // Catalog texts enter the page only here, and only as text.
  function element(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }

  function sidElement(codes) {
    const chips = codes.map((code, layer) => element("span", `code layer-${layer + 1}`, String(code)));
    return element("span", "sid", ...chips);
  }

  // Highlights the words of the query in the text.
  function marked(text, words) {
    const lower = text.toLowerCase();
    const parts = [];
    let from = 0;
    while (words.length) {
      const hits = words.map((word) => [lower.indexOf(word, from), word]).filter(([at]) => at >= 0);
      if (!hits.length || lower.length !== text.length) break;
      const [at, word] = hits.sort((a, b) => a[0] - b[0] || b[1].length - a[1].length)[0];
      parts.push(text.slice(from, at), element("mark", "", text.slice(at, at + word.length)));
      from = at + word.length;
    }
    return [...parts, text.slice(from)];
  }

  function itemButton(place, words = []) {
    const [head, ...rest] = items.text[place].split("\n");
    const text = element("span", "text",
      element("b", "", ...marked(head, words)), " ", ...marked(rest.join("\n"), words));
    const button = element("button", "item", text, element("span", "pid", items.pid[place]));
    button.type = "button";
    button.dataset.item = place;
    return button;
  }

  // ---- Search ----

  const lowerTexts = items.text.map((text) => text.toLowerCase());
  const byPrefix = [1, 2, 3].map((length) => {
    const groups = new Map();
    items.codes.forEach((codes, place) => {
      const key = codes.slice(0, length).join(" ");
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(place);
    });
    return groups;
  });

  const withPrefix = (prefix) => byPrefix[prefix.length - 1].get(prefix.join(" ")) || [];

  // The codes of the first SID, or SID prefix, in the query: layers a, b, c in this order. Empty if
  // the first code is missing; null if the query spells no codes.
  function prefixOfQuery(query) {
    const tokens = [...query.matchAll(/(?<![\p{L}\p{N}_])s_([abc])_(\d+)/gu)];
    if (!tokens.length) return null;
    const end = tokens.findIndex(([, layer], place) => layer !== "abc"[place]);
    return tokens.slice(0, end < 0 ? 3 : end).map(([, , code]) => Number(code));
  }

  // Ids first, then texts in which the query begins a word, then texts that contain its words.
  function find(query) {
    const prefix = prefixOfQuery(query);
    if (prefix) return { places: prefix.length ? withPrefix(prefix) : [], words: [], prefix };
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const phrase = words.join(" ");
    const ranked = [[], [], [], []];
    for (let place = 0; place < count; place++) {
      const pid = items.pid[place];
      if (pid === query) { ranked[0].push(place); continue; }
      const text = lowerTexts[place];
      if (words.every((word) => text.includes(word))) {
        const at = text.indexOf(phrase);
        const startsWord = at === 0 || (at > 0 && !/[\p{L}\p{N}]/u.test(text[at - 1]));
        const inFirstLine = at >= 0 && !text.slice(0, at).includes("\n");
        ranked[startsWord && inFirstLine ? 1 : startsWord ? 2 : 3].push(place);
      } else if (pid.startsWith(query)) ranked[3].push(place);
    }
    return { places: ranked.flat(), words };
  }

  // Some of the places, spread evenly, since ids often follow the order of entry.
  function spread(places, wanted) {
    const all = [...places];
    const step = Math.max(1, Math.floor(all.length / wanted));
    return all.filter((_, index) => index % step === 0).slice(0, wanted);
  }

  const results = byId("results");
  const matches = byId("matches");

  function search() {
    const query = byId("query").value.trim();
    const { places, words, prefix } = query ? find(query) : { places: spread(items.pid.keys(), 12), words: [] };
    results.replaceChildren(...places.slice(0, RESULTS).map((place) => itemButton(place, words)));
    results.scrollTop = 0;
    matches.dataset.query = query;
    matches.textContent = !query ? "Some items to start with" : !places.length ? nothingFound(prefix) :
      places.length <= RESULTS ? `${number(places.length)} found` :
      `${number(places.length)} found, the first ${RESULTS} are shown`;
    byId("detail").hidden = !places.length;
    if (places.length) show(places[0]);
  }

  function nothingFound(prefix) {
    if (prefix && !prefix.length) return `A search by SID begins with its first code: ${data.spelling.layers[0]}…>.`;
    return count < data.total ? `No item found among the ${number(count)} on this page.` : "No item found.";
  }

  function neighbours(title, note, places) {
    if (!places.length) return [];
    const heading = element("h3", "", title, " ", element("span", "muted", note));
    const shown = places.slice(0, NEIGHBOURS).map((place) => itemButton(place));
    const rest = places.length - shown.length;
    const more = rest > 0 ? [element("p", "muted more", `and ${number(rest)} more`)] : [];
    return [heading, ...shown, ...more];
  }

  function show(place) {
    const codes = items.codes[place];
    const error = items.error[place];
    const spelled = data.spelling.begin +
      codes.map((code, layer) => `${data.spelling.layers[layer]}${code}>`).join("") + data.spelling.end;
    const [one, two, three] = [1, 2, 3].map((length) => withPrefix(codes.slice(0, length)));
    const beside = (places, nearer) => places.filter((other) => other !== place && !nearer.includes(other));
    const head = element("div", "detail-head", element("span", "pid", items.pid[place]), sidElement(codes));
    if (error !== null) head.append(element("span", "muted", `reconstruction error ${error.toFixed(3)}`));
    const others = (places) => counted(places.length, "other");
    const same = beside(three, []);
    const sameTwo = beside(two, three);
    const sameOne = beside(one, two);
    const alone = element("p", "muted more", "No other item on this page has the same first code.");
    byId("detail").replaceChildren(
      head,
      element("p", "full-text", items.text[place]),
      element("code", "spelled", spelled),
      ...neighbours("Same SID", others(same), same),
      ...neighbours("Same first two codes", others(sameTwo), sameTwo),
      ...neighbours("Same first code", others(sameOne), sameOne),
      ...(same.length || sameTwo.length || sameOne.length ? [] : [alone]),
    );
    for (const button of results.children) {
      button.setAttribute("aria-current", String(Number(button.dataset.item) === place));
    }
  }

  let waiting;
  byId("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 80);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.item");
    if (!button) return;
    show(Number(button.dataset.item));
    if (!byId("search").contains(button)) byId("search").scrollIntoView();
  });

  // ---- Charts: without texts of the catalog, since plotly interprets some markup in labels ----

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const layerColours = () => [1, 2, 3].map((layer) => css(`--layer-${layer}`));

  function layout(extra) {
    const axis = {
      gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, automargin: true,
      fixedrange: true, tickangle: 0, title: { standoff: 8, font: { size: 12.5 } },
    };
    return {
      margin: { l: 48, r: 8, t: 12, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: css("--muted") },
      hoverlabel: { font: { family: getComputedStyle(document.body).fontFamily } },
      legend: { x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", orientation: "h" },
      ...extra,
      xaxis: { ...axis, showgrid: false, ...extra.xaxis, title: { ...axis.title, text: extra.xaxis?.title } },
      yaxis: { ...axis, ...extra.yaxis, title: { ...axis.title, text: extra.yaxis?.title } },
    };
  }

  function draw(id, traces, extra) {
    if (byId(id)) Plotly.react(id, traces, layout(extra), { displayModeBar: false, responsive: true });
  }

  function drawGroupSizes() {
    const sizes = data.groupSizes.map(([size]) => size);
    const counts = data.groupSizes.map(([, items]) => items);
    const colours = sizes.map((_, index) => css(index ? "--layer-3" : "--layer-1"));
    draw("group-sizes", [{
      type: "bar", x: sizes, y: counts.map((items) => 100 * items / data.total),
      text: counts.map(number), textposition: "outside", constraintext: "none", cliponaxis: false,
      marker: { color: colours }, customdata: counts,
      hovertemplate: "%{customdata:,} items (%{y:.1f}%)<extra></extra>",
    }], {
      bargap: 0.35,
      xaxis: { title: "items with the same SID", type: "category" },
      yaxis: { title: "% of items", range: [0, 108], tickvals: [0, 25, 50, 75, 100] },
    });
  }

  function drawPrefixes() {
    const names = ["distinct, % of items", "items with a unique one, %"];
    const colours = layerColours();
    draw("prefixes", names.map((name, index) => ({
      type: "bar", name, x: ["first code", "first two", "whole SID"],
      y: data.prefixes.map((prefix) => 100 * prefix[index]),
      text: data.prefixes.map((prefix) => (100 * prefix[index]).toFixed(1)),
      textposition: "outside", constraintext: "none", cliponaxis: false, marker: { color: colours[index] },
      hovertemplate: "%{y:.1f}%<extra></extra>",
    })), {
      bargap: 0.3, bargroupgap: 0.08,
      yaxis: { title: "%", range: [0, 108], tickvals: [0, 25, 50, 75, 100] },
    });
  }

  function drawCodeUsage() {
    const colours = layerColours();
    const used = Math.max(...data.codeCounts.map((counts) => counts.length));
    const dead = data.codebookSize - used;
    // A line through few codes may be too short to see.
    const few = (counts) => counts.length <= data.fewCodes;
    const ends = few({ length: used }) ? [0.5, used + 0.5] : [1, used];
    const lines = data.codeCounts.map((counts, layer) => ({
      type: "scatter", mode: few(counts) ? "lines+markers" : "lines", name: `layer ${layer + 1}`,
      x: counts.map((_, index) => index + 1), y: counts,
      line: { color: colours[layer], width: 2, shape: few(counts) ? "linear" : "hv" }, marker: { size: 7 },
      hovertemplate: "code of rank %{x:,}: %{y:,} items<extra></extra>",
    }));
    lines.push({
      type: "scatter", mode: "lines", name: "if all were used equally", x: ends,
      y: [data.evenUse, data.evenUse], line: { color: css("--muted"), width: 1, dash: "dash" },
      hoverinfo: "skip",
    });
    const most = Math.max(...data.codeCounts.flat());
    const rest = dead ? ` (${number(dead)} of ${number(data.codebookSize)} are unused in every layer)` : "";
    draw("code-usage", lines, {
      xaxis: { title: `codes of the layer, most used first${rest}`, range: ends, tickformat: ",d", ...(used < 10 && { dtick: 1 }) },
      yaxis: {
        title: "items", type: "log", range: [Math.log10(0.7), Math.log10(Math.max(3, 1.4 * most))],
        dtick: most < 50 ? "D2" : 1, tickformat: ",~r",
      },
    });
  }

  function drawErrors() {
    const colours = layerColours();
    draw("errors", data.errorCurves.map((curve, layer) => ({
      type: "scatter", mode: "lines", name: `after layer ${layer + 1}`, x: curve,
      y: curve.map((_, index) => 100 * index / (curve.length - 1)),
      line: { color: colours[layer], width: 2 },
      hovertemplate: "%{y:.1f}% of the items: at most %{x:.3f}<extra></extra>",
    })), {
      xaxis: { title: "relative reconstruction error", rangemode: "tozero" },
      yaxis: { title: "% of items", range: [0, 100] },
    });
  }

  // The bars of a section: shares as percent, other numbers as they are.
  function drawBars(key, bars) {
    const colours = layerColours();
    const scaled = (value) => value === null ? null : bars.percent ? 100 * value : value;
    const narrow = innerWidth < 600; // numbers above the bars would overlap
    const label = (value) => value === null || narrow ? "" :
      bars.percent ? value.toFixed(1) : value.toLocaleString("en-US", { maximumFractionDigits: 2 });
    const traces = Object.entries(bars.series).map(([name, values], index) => ({
      type: "bar", name, x: bars.places, y: values.map(scaled), text: values.map(scaled).map(label),
      textposition: "outside", constraintext: "none", textangle: 0, cliponaxis: false,
      marker: { color: colours[index] },
      hovertemplate: bars.percent ? "%{y:.1f}%<extra></extra>" : "%{y:,.2f}<extra></extra>",
    }));
    const most = Math.max(1, ...traces.flatMap((trace) => trace.y.filter((value) => value !== null)));
    const scale = bars.logarithmic ? { type: "log", range: [Math.log10(0.7), Math.log10(3 * most)], dtick: 1, tickformat: ",~r" } :
      { range: [0, 1.08 * (bars.percent ? Math.max(100, most) : most)] };
    draw(`${key}-chart`, traces, {
      bargap: 0.3, bargroupgap: 0.08, showlegend: traces.length > 1,
      xaxis: { type: "category" }, yaxis: { title: bars.title, ...scale },
    });
  }

  // ---- The code tree ----

  const nodeId = (prefix) => prefix.join(" ");

  // The branches as plotly's nodes; the smaller branches below a node are merged into one.
  function treeNodes() {
    const branches = data.branches.map(([prefix, items, distinct]) => ({
      id: nodeId(prefix), parent: nodeId(prefix.slice(0, -1)) || "root", depth: prefix.length,
      label: String(prefix[prefix.length - 1]), items, crowding: items / distinct,
      note: `${prefix.join(" · ")}<br>${counted(items, "item")}, ${counted(distinct, "distinct SID")}`,
    }));
    const below = new Map();
    for (const node of branches) below.set(node.parent, (below.get(node.parent) || 0) + node.items);
    const smaller = branches
      .filter((node) => node.depth < 3 && below.get(node.id) < node.items)
      .map((node) => ({
        id: `${node.id} smaller`, parent: node.id, label: "", items: node.items - below.get(node.id),
        crowding: null, note: `smaller branches: ${counted(node.items - below.get(node.id), "item")}`,
      }));
    const root = {
      id: "root", parent: "", items: below.get("root"), crowding: null, note: counted(below.get("root"), "item"),
      label: below.get("root") === data.total ? "all items" :
        `the ${number(branches.filter((node) => node.depth === 1).length)} largest<br>first codes,<br>` +
        `${(100 * below.get("root") / data.total).toFixed(0)}% of the items`,
    };
    return [root, ...branches, ...smaller];
  }

  // The classes of the legend.
  function crowdingColour(crowding) {
    if (crowding === null) return css("--gap");
    const limits = [1, 1.2, 1.5, 3];
    const step = limits.findIndex((limit) => crowding <= limit);
    return css(`--crowding-${step < 0 ? limits.length + 1 : step + 1}`);
  }

  function drawTree() {
    const nodes = treeNodes();
    draw("tree-chart", [{
      type: "sunburst", branchvalues: "total", sort: false, rotation: 90, maxdepth: 3,
      ids: nodes.map((node) => node.id), parents: nodes.map((node) => node.parent),
      labels: nodes.map((node) => node.label), values: nodes.map((node) => node.items),
      customdata: nodes.map((node) => node.note), hovertemplate: "%{customdata}<extra></extra>",
      insidetextorientation: "radial", leaf: { opacity: 1 },
      marker: {
        colors: nodes.map((node) => crowdingColour(node.crowding)),
        line: { width: 0.7, color: css("--card") },
      },
    }], { margin: { l: 0, r: 0, t: 8, b: 8 } });
  }

  // Plotly shrinks the label of a narrow slice until it fits. Its `uniformtext`, which hides small
  // labels, has no effect before the first click.
  function hideSmallLabels() {
    for (const label of byId("tree-chart").querySelectorAll("g.slicetext text")) {
      const { a, b } = label.getCTM();
      const size = Math.hypot(a, b) * parseFloat(getComputedStyle(label).fontSize);
      label.style.visibility = size < SMALLEST_LABEL ? "hidden" : "";
    }
  }

  function showBranch(prefix) {
    const branch = data.branches.find(([other]) => nodeId(other) === nodeId(prefix));
    const title = element("div", "detail-head", sidElement(prefix),
      element("span", "muted", `${counted(branch[1], "item")}, ${counted(branch[2], "distinct SID")}`));
    byId("branch").replaceChildren(title, ...spread(withPrefix(prefix), 12).map((place) => itemButton(place)));
  }

  function drawAll() {
    drawGroupSizes();
    drawPrefixes();
    drawCodeUsage();
    drawErrors();
    drawTree();
    for (const [key, bars] of Object.entries(data.bars)) drawBars(key, bars);
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  hideSmallLabels();
  byId("tree-chart").on("plotly_afterplot", hideSmallLabels);
  byId("tree-chart").on("plotly_animated", hideSmallLabels);
  byId("tree-chart").on("plotly_sunburstclick", (event) => {
    const id = event.points[0].id;
    if (/^[\d ]+$/.test(id)) showBranch(id.split(" ").map(Number));
  });
  showBranch(data.branches[0][0]);
  search();
})();
