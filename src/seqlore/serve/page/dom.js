// Elements and requests. Text goes in as text nodes only: what a user or a catalogue wrote is never read as HTML.

/** An element: make("p", {class: "x", onclick: f}, "text", child, [more]). Null children are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Put children in place of what is there. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
}

/** A label around a control. */
export const labelled = (text, control) => make("label", {}, make("span", {}, text), control);

export const number = (value, digits = 3) =>
  value == null ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

/** Call f when nothing has happened for a while. */
export function later(f, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...given), milliseconds);
  };
}

const KEY = "seqlore-token"; // of this tab alone, gone when it is closed

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

/** A request, asking for the token where the service wants one. Throws an Error with the service's sentence. */
async function request(path, options = {}, again = true) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached.");
  }
  if (answer.status === 401 && again && (await askToken())) return request(path, options, false);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || `The service answered ${answer.status}.`);
  }
  return answer;
}

export const get = async (path, options) => (await request(path, options)).json();

export const post = async (path, body, options = {}) =>
  (await request(path, { ...options, method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } })).json();

/** An image that needs the token, as an address for <img>. */
export const picture = async (path) => URL.createObjectURL(await (await request(path)).blob());

let asking = null;

/** Ask for the token in a dialog, once for all who wait; whether one was given. */
function askToken() {
  asking ??= new Promise((done) => {
    const field = make("input", { type: "password", autocomplete: "off", required: true });
    const form = make("form", { method: "dialog" }, labelled("This service asks for a token", field), make("button", {}, "Go on"));
    const dialog = make("dialog", { onclose: () => {
      asking = null;
      dialog.remove();
      if (field.value) sessionStorage.setItem(KEY, field.value.trim());
      done(Boolean(field.value));
    } }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}
