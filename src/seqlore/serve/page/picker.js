// A history, picked or typed by title: a combobox (WAI-ARIA 1.2) and the chosen items, oldest first.

import { get, later, make, fill } from "./dom.js";

let number = 0;

/**
 * @param {Array<{item_id, title}>} chosen - changed in place
 * @param {() => string} model - whose catalogue is searched
 * @param {() => void} changed - called when the history has changed
 */
export function picker(chosen, model, changed) {
  const id = `titles-${++number}`;
  let found = [], at = -1, latest = 0;
  const list = make("ul", { id, role: "listbox", hidden: true, "aria-label": "Items found" });
  const field = make("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", maxlength: "1000", "aria-controls": id,
    "aria-expanded": "false", "aria-autocomplete": "list", placeholder: "Words of a title, e.g. night cream",
  });
  const chips = make("ol", { class: "chips", "aria-label": "History, oldest first" });
  const said = make("p", { class: "quiet", role: "status" });

  function show() {
    fill(chips, chosen.map((item, i) => make("li", {},
      make("span", { title: item.item_id }, item.title),
      make("button", { type: "button", "aria-label": `Remove ${item.title}`, onclick: () => { chosen.splice(i, 1); show(); changed(); field.focus(); } }, "×"))));
  }

  function close() {
    list.hidden = true;
    at = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function mark(next) {
    at = next;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    if (at < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", list.children[at].id);
    list.children[at].scrollIntoView({ block: "nearest" });
  }

  function choose(item) {
    chosen.push(item);
    field.value = "";
    found = [];
    close();
    show();
    changed();
  }

  async function search() {
    const query = field.value.trim(), turn = ++latest;
    if (!query) { found = []; said.textContent = ""; return close(); }
    const parameters = new URLSearchParams({ q: query, limit: 8, model: model() });
    let answer;
    try {
      answer = await get(`/v1/items?${parameters}`);
    } catch (error) {
      said.textContent = error.message;
      return;
    }
    if (turn !== latest) return; // somebody typed on
    found = answer.items;
    fill(list, found.map((item, i) => make("li", {
      id: `${id}-${i}`, role: "option", "aria-selected": "false",
      onmousedown: (event) => { event.preventDefault(); choose(item); },
    }, item.title, make("small", {}, item.item_id))));
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(found.length > 0));
    said.textContent = found.length ? "" : "No title is like this.";
    mark(-1);
  }

  field.addEventListener("input", later(search, 120));
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      event.preventDefault();
      if (found.length && field.value.trim()) choose(found[Math.max(at, 0)]);
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && found.length) {
      event.preventDefault();
      list.hidden = false;
      field.setAttribute("aria-expanded", "true");
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark((at + step + found.length) % found.length);
    } else if (event.key === "Backspace" && !field.value && chosen.length) {
      chosen.pop();
      show();
      changed();
    }
  });
  show();
  return make("div", { class: "picker" },
    make("label", {}, make("span", {}, "History, oldest first"), make("div", { class: "combo" }, field, list)), said, chips);
}
