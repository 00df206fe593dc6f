// Which view is shown, by the part of the address behind "#".

import { fill, get, make } from "./dom.js";
import * as recommend from "./recommend.js";
import { boards, browse, served } from "./views.js";

const main = document.getElementById("main");
const notice = document.getElementById("notice");

async function show() {
  const [name, query = ""] = (location.hash.slice(1) || "try").split("?");
  if (name === "main") return main.focus();
  const parameters = new URLSearchParams(query);
  for (const link of document.querySelectorAll("nav a"))
    link.getAttribute("href") === `#${name}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  notice.hidden = true;
  try {
    const { models } = await get("/v1/models");
    if (name === "browse") await browse(main, models, parameters);
    else if (name === "boards") await boards(main);
    else if (name === "models") served(main, models);
    else {
      await recommend.recall(parameters, models);
      await recommend.view(main, models);
    }
  } catch (error) {
    tell(error);
  }
}

function tell(error) {
  fill(notice, error.message, " ", make("button", { type: "button", onclick: show }, "Try again"));
  notice.hidden = false;
}

window.addEventListener("hashchange", show);
window.addEventListener("unhandledrejection", (event) => tell(event.reason));
show();
