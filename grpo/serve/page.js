"use strict";
const find = id => document.getElementById(id);

function settings() {
  const body = {
    source: find("source").value,
    reference: find("reference").value,
    samples: Number(find("samples").value),
    temperature: Number(find("temperature").value),
  };
  if (find("seed").value) body.seed = Number(find("seed").value);
  return body;
}

async function ask(body) {
  const answer = await fetch("outputs", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
  });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error.message);
  return found;
}

function facts(output) {
  const parts = [output.tokens + (output.tokens === 1 ? " token" : " tokens")];
  if (output.finish_reason === "length") parts.push("cut at the length limit");
  if (output.cosine !== null) parts.push("cosine " + output.cosine.toFixed(3));
  return parts.join(", ");
}

function show(found) {
  const items = found.outputs.map(output => {
    const item = find("output").content.cloneNode(true);
    item.querySelector(".name").textContent = output.name;
    item.querySelector(".text").textContent = output.text || "(empty)";
    item.querySelector(".facts").textContent = facts(output);
    return item;
  });
  find("outputs").replaceChildren(...items);
  const cosine = found.no_cosine ? "; there is no cosine: " + found.no_cosine : "";
  find("status").textContent = found.outputs.length + " outputs, seed " + found.seed + cosine;
}

async function send(event) {
  event.preventDefault();
  find("send").disabled = true;
  find("problem").hidden = true;
  find("status").textContent = "The model writes …";
  try {
    show(await ask(settings()));
  } catch (error) {
    find("status").textContent = "";
    find("problem").textContent = error.message;
    find("problem").hidden = false;
  }
  find("send").disabled = false;
}

find("form").addEventListener("submit", send);
find("source").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("form").requestSubmit();
});
