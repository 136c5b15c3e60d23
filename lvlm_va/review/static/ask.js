// Ask the critic again: the cost first, then the question.

import { $, many } from "./dom.js";
import { follow } from "./job.js";
import { explain, post, state } from "./store.js";

let asked = [];

export function startAsking() {
  $("ask-cancel").addEventListener("click", () => $("ask").close());
  $("ask-start").addEventListener("click", async () => {
    $("ask").close();
    try {
      await post("api/ask", { images: asked });
      follow();
    } catch (error) {
      explain(error);
    }
  });
}

// `images` are numbers of images.
export async function askAbout(images) {
  asked = images.map((index) => state.images[index].id);
  const mine = asked;
  $("ask-what").textContent = `The critic (${state.critic.name}) is asked about ${many(asked.length, "image")}, with the present descriptions.`;
  $("ask-cost").textContent = "Working out the cost …";
  $("ask-start").disabled = true;
  $("ask").showModal();
  try {
    const { cost } = await post("api/estimate", { images: asked });
    if (mine !== asked) return;
    $("ask-cost").textContent = cost;
    $("ask-start").disabled = false;
    $("ask-start").focus();
  } catch (error) {
    $("ask-cost").textContent = error.message;
  }
}
