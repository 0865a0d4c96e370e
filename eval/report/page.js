"use strict";
// The value of a curve under the pointer, or under the arrow keys.

function places(svg) {
  const points = svg.querySelector(".raw").getAttribute("points").split(" ");
  return points.map(point => point.split(",").map(Number));
}

function cursor(svg) {
  const dot = document.createElementNS(svg.namespaceURI, "circle");
  dot.setAttribute("class", "dot");
  dot.setAttribute("r", 4);
  svg.append(dot);
  return dot;
}

function follow(svg) {
  const points = places(svg);
  const steps = svg.dataset.steps.split(" ");
  const values = svg.dataset.values.split(" ");
  const output = document.createElement("output");
  svg.after(output);
  let dot = null;
  let current = -1;

  function show(number) {
    current = Math.max(0, Math.min(steps.length - 1, number));
    dot = dot || cursor(svg);
    dot.setAttribute("cx", points[current][0]);
    dot.setAttribute("cy", points[current][1]);
    output.textContent = "step " + steps[current] + ": " + values[current];
  }

  function nearest(event) {
    const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
    const far = points.slice(0, steps.length).map(point => Math.abs(point[0] - x));
    return far.indexOf(Math.min(...far));
  }

  svg.tabIndex = 0;
  svg.addEventListener("pointermove", event => show(nearest(event)));
  svg.addEventListener("pointerdown", event => show(nearest(event)));
  svg.addEventListener("keydown", event => {
    const last = steps.length - 1;
    const to = {ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: last}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}

document.querySelectorAll("svg[data-steps]").forEach(follow);
