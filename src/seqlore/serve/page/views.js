// The catalogue, the leaderboards and the models.

import { fill, get, labelled, later, make, number, picture, post } from "./dom.js";
import { state } from "./recommend.js";

const PAGE = 25;

/** Leaf through the catalogue or search it; an item beside it, with the knowledge held on it and what is like it. */
export async function browse(main, models, parameters) {
  let model = models.find((each) => each.name === parameters.get("model")) || models[0];
  let offset = 0, latest = 0;
  const list = make("ul", { class: "titles" }), count = make("p", { class: "quiet", role: "status" });
  const detail = make("section", { class: "detail", "aria-label": "Item", tabindex: "-1" });
  const field = make("input", { type: "search", maxlength: "1000", placeholder: "Words of a title" });
  const select = make("select", { onchange: () => { model = models.find((each) => each.name === select.value); offset = 0; leaf(); } },
    models.map((each) => make("option", { value: each.name, selected: each === model }, each.name)));
  const before = make("button", { type: "button", onclick: () => { offset = Math.max(0, offset - PAGE); leaf(); } }, "Previous");
  const after = make("button", { type: "button", onclick: () => { offset += PAGE; leaf(); } }, "Next");

  async function leaf() {
    const turn = ++latest;
    const asked = new URLSearchParams({ model: model.name, q: field.value, limit: PAGE, offset });
    const answer = await get(`/v1/items?${asked}`);
    if (turn !== latest) return;
    fill(list, answer.items.map((item) => make("li", {}, make("button", { type: "button", class: "plain", onclick: () => open(item.item_id, true) }, item.title))));
    const searched = field.value.trim();
    count.textContent = searched ? `${answer.items.length} found` : `${offset + 1}–${offset + answer.items.length} of ${answer.total.toLocaleString("en")}`;
    before.disabled = offset === 0;
    after.disabled = searched ? answer.items.length < PAGE : offset + PAGE >= answer.total;
  }

  async function open(id, focus) {
    const name = encodeURIComponent(model.name);
    window.history.replaceState(null, "", `#browse?item=${encodeURIComponent(id)}&model=${name}`);
    const item = await get(`/v1/items/${encodeURIComponent(id)}?model=${name}`);
    const like = model.abilities.includes("similar") ? (await post("/v1/similar", { model: model.name, item: id, k: 8 })) : null;
    fill(detail,
      make("h2", {}, item.title, make("small", {}, item.item_id)),
      item.added ? make("p", { class: "quiet" }, "Added while the service runs.") : null,
      make("button", { type: "button", onclick: () => { state.history.push({ item_id: item.item_id, title: item.title }); location.hash = "#try"; } }, "Put into the history"),
      make("h3", {}, "Knowledge"),
      item.knowledge.length ? item.knowledge.map((text) => make("p", {}, text)) : make("p", { class: "quiet" }, "None is held on this item (seqlore serve --lore)."),
      make("h3", {}, "As the catalogue has it"),
      make("dl", {}, Object.entries(item.attributes).map(([key, value]) => [make("dt", {}, key), make("dd", {}, Array.isArray(value) ? value.join(" · ") : String(value))])),
      like ? make("h3", {}, like.by === "vectors" ? "Nearest in this model" : "What this model lists after it") : null,
      like ? make("ol", { class: "titles" }, like.items.map((one) => make("li", {},
        make("button", { type: "button", class: "plain", onclick: () => open(one.item_id, true) }, one.title), " ", make("small", {}, number(one.score, 2))))) : null);
    if (focus) detail.focus();
  }

  field.addEventListener("input", later(() => { offset = 0; leaf(); }, 150));
  fill(main, make("h1", {}, "Catalogue"),
    make("form", { class: "row", onsubmit: (event) => event.preventDefault() }, labelled("Search", field), labelled("As known to", select)),
    make("div", { class: "browse" }, make("section", { "aria-label": "Items" }, count, list, make("p", { class: "row" }, before, after)), detail));
  await leaf();
  if (parameters.get("item")) await open(parameters.get("item"), false);
}

/** Tables and figures of each run folder. */
export async function boards(main) {
  fill(main, make("h1", {}, "Leaderboards"), make("p", { class: "quiet" }, "Reading the runs …"));
  const { runs } = await get("/v1/runs");
  fill(main, make("h1", {}, "Leaderboards"),
    runs.length ? null : make("p", {}, "No run folder is served. Start with one: ", make("code", {}, "seqlore serve runs/demo")),
    runs.map((run, i) => make("section", {}, make("h2", {}, run.name), make("p", { class: "quiet" }, run.protocol), board(run),
      make("div", { class: "figures" }, run.plots.map((plot, j) => figure(plot, i, j))))));
}

function board(run) {
  const cut = run.metric.split("@")[1];
  const metrics = ["hr", "ndcg", "mrr", "coverage", "novelty"].map((name) => `${name}@${cut}`).filter((key) => run.rows.some((row) => row.metrics[key]));
  const ties = new Set(run.rows.map((row) => row.ties)).size > 1;
  const best = Object.fromEntries(metrics.map((key) => [key, Math.max(...run.rows.map((row) => row.metrics[key]?.mean ?? -Infinity))]));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Leaderboard of ${run.name}` }, make("table", {},
    make("thead", {}, make("tr", {}, ["Model", ties ? "Ties" : null, ...metrics, "Seeds"].filter(Boolean).map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, run.rows.map((row) => make("tr", {},
      make("th", { scope: "row" }, row.label, row.text ? make("span", { class: "also" }, "text") : null, row.served ? make("span", { class: "also" }, "served") : null),
      ties ? make("td", {}, row.ties) : null,
      metrics.map((key) => {
        const metric = row.metrics[key];
        const interval = metric?.interval ? make("small", {}, `${number(metric.interval[0], 4)}–${number(metric.interval[1], 4)}`) : null;
        return make("td", { class: metric?.mean === best[key] ? "best" : null }, number(metric?.mean, 4), interval);
      }),
      make("td", {}, String(row.seeds)))))));
}

function figure(plot, run, number) {
  const image = make("img", { alt: plot.title, loading: "lazy" });
  picture(`/v1/runs/${run}/plots/${number}`).then((url) => { image.src = url; }, () => image.replaceWith(make("p", { class: "problem" }, "This figure cannot be drawn.")));
  return make("figure", {}, make("figcaption", {}, make("strong", {}, plot.title)), image, make("p", { class: "quiet" }, plot.how));
}

/** What is served, and where it comes from. */
export function served(main, models) {
  fill(main, make("h1", {}, "Models"), models.map((model) => make("section", {}, make("h2", {}, model.name, model.name === model.model ? null : make("small", {}, model.model)),
    make("p", { class: "quiet" }, model.paper),
    make("dl", {}, Object.entries({
      items: model.items.toLocaleString("en") + (model.added ? `, of these ${model.added} added while it runs` : ""),
      abilities: model.abilities.join(", "),
      index: model.index ? `${model.index.kind}, recall@${model.index.k} ${number(model.index.recall, 4)} on ${model.index.queries} histories` : "none: every item is scored",
      loaded: model.loaded, digest: model.digest, ...plain(model.about),
    }).map(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])))));
}

/** What a model tells of its training, as text: whole numbers whole, others with four digits. */
const plain = (about) => Object.fromEntries(Object.entries(about).map(([key, value]) =>
  [key.replaceAll("_", " "), value && typeof value === "object" ? Object.entries(value).map(([k, v]) => `${k.replaceAll("_", " ")} ${short(v)}`).join(", ") : short(value)]));

const short = (value) => typeof value !== "number" ? (value && typeof value === "object" ? JSON.stringify(value) : String(value)) : number(value, Number.isInteger(value) ? 0 : 4);
