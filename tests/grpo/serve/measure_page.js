// Uses the page of a server in its window and measures it: outputs, a refusal, widths, contrast, names of controls.
async function (page) {
  const all = selector => Array.from(page.document.querySelectorAll(selector));
  const find = id => page.document.getElementById(id);
  const root = page.document.documentElement;
  async function sent() {
    find("send").click();
    while (find("send").disabled) await new Promise(go => setTimeout(go, 20));
  }

  find("source").value = "x".repeat(3000);
  await sent();
  const problem = isVisible(find("problem")) ? find("problem").textContent : "";
  find("source").value = "\u0645\u0631\u062d\u0628\u0627";
  find("reference").value = "nearly";
  find("seed").value = "5";
  await sent();
  const outputs = all("#outputs li").map(item =>
    [".name", ".text", ".facts"].map(part => item.querySelector(part).textContent));

  const outside = all("body *").filter(element =>
    isVisible(element) && element.getBoundingClientRect().right > root.clientWidth + 1);
  const hasText = element => element.matches("textarea, input") ||
    Array.from(element.childNodes).some(node => node.nodeType === 3 && node.data.trim());
  const inks = all("body *").filter(element => element.matches(":not(script, template)") && hasText(element) && isVisible(element));
  const controls = all("textarea, input, button");
  return {
    problem, outputs, status: find("status").textContent, checked: inks.length,
    width: root.scrollWidth, room: root.clientWidth, ground: page.getComputedStyle(page.document.body).backgroundColor,
    outside: outside.map(element => element.outerHTML.slice(0, 80)),
    weak: inks.filter(element => contrast(element) < 4.5).map(element => element.outerHTML.slice(0, 80)),
    small: controls.filter(one => one.getBoundingClientRect().height < 40).map(one => one.id),
    nameless: controls.filter(one => one.tagName !== "BUTTON" && !one.labels.length).map(one => one.id),
    directions: [find("source"), find("reference"), page.document.querySelector(".text")].map(
      element => page.getComputedStyle(element).direction),
  };
}
