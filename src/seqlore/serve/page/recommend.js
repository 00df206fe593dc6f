// What several models would show next, side by side: scores, why, and where they agree.

import { fill, get, labelled, make, number, post } from "./dom.js";
import { picker } from "./picker.js";

/** What was chosen; it outlives a look at another view, and the history stands in the address. */
export const state = { history: [], models: null, k: 10, seen: true, attribute: "", value: "" };

let latest = 0;

export async function view(main, models) {
  const able = models.filter((model) => model.abilities.includes("recommend"));
  if (!able.length) return fill(main, make("p", {}, "No served model recommends by itself; rerankers answer /v1/rerank."));
  state.models ??= new Set(able.slice(0, 3).map((model) => model.name));
  const out = make("section", { class: "results", "aria-label": "Recommendations", "aria-live": "polite" });
  const ask = () => { remember(); return show(out, able); };
  const boxes = able.map((model) => make("label", { class: "box" }, make("input", {
    type: "checkbox", checked: state.models.has(model.name),
    onchange: (event) => { state.models[event.target.checked ? "add" : "delete"](model.name); ask(); },
  }), model.name));
  const attributes = [...new Set(able.flatMap((model) => model.attributes))];
  const choice = (options, value, onchange) => make("select", { onchange },
    options.map(([key, text]) => make("option", { value: key, selected: String(key) === String(value) }, text)));
  const value = make("input", { type: "text", value: state.value, maxlength: "500", disabled: !state.attribute, onchange: (e) => { state.value = e.target.value; ask(); } });
  fill(main,
    make("h1", {}, "What comes next?"),
    make("form", { class: "ask", onsubmit: (event) => event.preventDefault() },
      picker(state.history, () => able[0].name, ask),
      make("fieldset", {}, make("legend", {}, "Models"), boxes),
      make("div", { class: "row" },
        labelled("Length", choice([5, 10, 20, 50].map((k) => [k, k]), state.k, (e) => { state.k = Number(e.target.value); ask(); })),
        labelled("Seen items", choice([["out", "left out"], ["in", "may return"]], state.seen ? "out" : "in", (e) => { state.seen = e.target.value === "out"; ask(); })),
        attributes.length ? labelled("Only where", choice([["", "anything"], ...attributes.map((a) => [a, a])], state.attribute, (e) => { state.attribute = e.target.value; value.disabled = !state.attribute; ask(); })) : null,
        attributes.length ? labelled("is", value) : null)),
    out);
  await ask();
}

function remember() {
  const ids = state.history.map((item) => encodeURIComponent(item.item_id)).join(",");
  window.history.replaceState(null, "", ids ? `#try?history=${ids}` : "#try");
}

/** Take the history out of the address. */
export async function recall(parameters, models) {
  const ids = (parameters.get("history") || "").split(",").filter(Boolean);
  if (!ids.length || state.history.length) return;
  const model = models.find((each) => each.abilities.includes("recommend"));
  for (const id of ids.slice(0, 200)) {
    const found = await get(`/v1/items/${encodeURIComponent(id)}?model=${encodeURIComponent(model.name)}`).catch(() => null);
    if (found) state.history.push({ item_id: found.item_id, title: found.title });
  }
}

async function show(out, able) {
  const turn = ++latest;
  const chosen = able.filter((model) => state.models.has(model.name));
  const history = state.history.map((item) => item.item_id);
  const filters = state.attribute && state.value.trim() ? { attributes: { [state.attribute]: [state.value.trim()] } } : null;
  const lists = await Promise.all(chosen.map(async (model) => {
    try {
      const asked = { model: model.name, history, k: state.k, exclude_seen: state.seen, ...(filters && { filters }) };
      return { model, ...(await post("/v1/recommend", asked)).lists[0] };
    } catch (error) {
      return { model, items: [], unknown: [], error: error.message };
    }
  }));
  if (turn !== latest) return; // the question has changed meanwhile
  const ranks = new Map(); // item id → its title, and model → rank
  for (const list of lists) list.items.forEach((item, i) => {
    if (!ranks.has(item.item_id)) ranks.set(item.item_id, { title: item.title, ranks: new Map() });
    ranks.get(item.item_id).ranks.set(list.model.name, i + 1);
  });
  fill(out,
    history.length ? null : make("p", { class: "quiet" }, "Without a history, this is what is popular."),
    agreement(lists, ranks),
    make("div", { class: "columns" }, lists.map((list) => column(list, ranks, lists.length, history))));
}

/** Items that more than one model lists, those in most lists first. */
function agreement(lists, ranks) {
  if (lists.length < 2) return null;
  const shared = [...ranks.values()].filter((item) => item.ranks.size > 1)
    .sort((a, b) => b.ranks.size - a.ranks.size || sum(a) - sum(b));
  const all = shared.filter((item) => item.ranks.size === lists.length).length;
  const rows = shared.map((item) => make("tr", {}, make("th", { scope: "row" }, item.title),
    lists.map((list) => make("td", {}, item.ranks.get(list.model.name) ? `#${item.ranks.get(list.model.name)}` : "–"))));
  return make("details", { class: "agreement", open: shared.length > 0 && shared.length <= 5 },
    make("summary", {}, `${all} of ${ranks.size} items are in all ${lists.length} lists, ${shared.length} in more than one`),
    shared.length ? make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Items in more than one list" },
      make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Item"), lists.map((list) => make("th", { scope: "col" }, list.model.name)))),
        make("tbody", {}, rows))) : null);
}

const sum = (item) => [...item.ranks.values()].reduce((a, b) => a + b, 0);

/** How high a score is between the lowest and the highest of its list, for the eye alone. */
function bar(share) {
  const element = make("span", { class: "bar", "aria-hidden": "true" });
  element.style.setProperty("--share", share);
  return element;
}

function column(list, ranks, models, history) {
  const scores = list.items.map((item) => item.score), low = Math.min(...scores), span = Math.max(...scores) - low;
  const reasons = new Map();
  const rows = list.items.map((item) => {
    const why = make("div", { class: "why" });
    reasons.set(item.item_id, why);
    const also = ranks.get(item.item_id).ranks.size;
    return make("li", { "data-item": item.item_id },
      make("a", { href: `#browse?item=${encodeURIComponent(item.item_id)}&model=${encodeURIComponent(list.model.name)}` }, item.title),
      make("span", { class: "score" }, bar(span ? 0.05 + 0.95 * (item.score - low) / span : 1), number(item.score),
        models > 1 && also > 1 ? make("span", { class: "also" }, also === models ? "in all" : `in ${also} of ${models}`) : null),
      why);
  });
  if (list.items.length) explain(list, history, reasons);
  return make("article", { "aria-label": list.model.name },
    make("h2", {}, list.model.name, list.model.name === list.model.model ? null : make("small", {}, list.model.model)),
    list.error ? make("p", { class: "problem" }, list.error) : null,
    !list.error && !list.items.length ? make("p", { class: "quiet" }, "Nothing to show.") : null,
    list.unknown.length ? make("p", { class: "quiet" }, `Not known to this model: ${list.unknown.join(", ")}`) : null,
    make("ol", {}, rows));
}

/** Put the reasons under each item: nearest items of the history, knowledge, and the model's label on demand. */
async function explain(list, history, reasons) {
  const asked = { model: list.model.name, history, items: [...reasons.keys()], nearest: 2 };
  let answer;
  try {
    answer = await post("/v1/explain", asked);
  } catch (error) {
    return; // the list stands without reasons
  }
  for (const item of answer.items) {
    const near = item.nearest.filter((one) => one.weight > 0);
    const how = item.by === "vectors" ? "like" : "because of";
    const label = list.model.abilities.includes("label") ? make("button", { type: "button", class: "plain", onclick: async (event) => {
      const told = await post("/v1/explain", { ...asked, items: [item.item_id], nearest: 0, label: true }).catch((error) => ({ items: [{ label: error.message }] }));
      event.target.replaceWith(make("p", {}, `The model's label: ${told.items[0].label}`));
    } }, "What does the model say it is?") : null;
    const strange = item.by === "vectors" && history.length && !near.length;
    fill(reasons.get(item.item_id),
      near.map((one) => make("p", { class: "near" }, make("span", {}, how), make("q", { title: one.title }, one.title), make("span", {}, number(one.weight, 2)))),
      strange ? make("p", {}, "like nothing in the history") : null,
      item.knowledge.length ? make("details", {}, make("summary", {}, "What is known"), item.knowledge.map((text) => make("p", {}, text))) : null,
      label);
  }
}
