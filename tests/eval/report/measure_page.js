// Measures a report's page in its window: widths, contrast, texts of Tibetan script, filters and curves.
function (page) {
  const all = selector => Array.from(page.document.querySelectorAll(selector));
  const find = selector => page.document.querySelector(selector);
  const root = page.document.documentElement;
  const bottom = selector => find(selector).getBoundingClientRect().bottom;
  const places = {
    answer: bottom(".verdict"), numbers: bottom(".numbers"), picture: find("figure > svg").getBoundingClientRect().top,
    pictureEnd: bottom("figure > svg"), table: find("main section table").getBoundingClientRect().top,
  };
  const smallest = Math.min(...all("figure > svg text").map(text => text.getBoundingClientRect().height));
  const shown = () => all(".sample").filter(isVisible).length;

  const filters = {};
  for (const input of all(".filters input").reverse()) {
    input.click();
    filters[input.value] = shown();
  }
  find('.filters input[value="all"]')?.click();
  const foldedHeight = root.scrollHeight;
  for (const details of all("details")) details.open = true;

  const outside = all("body *").filter(element => {
    const box = element.closest(".scroll, .unseen, .skip, svg");
    return (!box || box === element) && isVisible(element) && element.getBoundingClientRect().right > root.clientWidth + 1;
  });
  const cut = all("dd, p, li, h1, h2, caption, label span").filter(element =>
    isVisible(element) && !element.closest(".unseen") && element.scrollWidth > element.clientWidth + 1);

  const hasText = element => Array.from(element.childNodes).some(node => node.nodeType === 3 && node.data.trim());
  const inks = all("body *").filter(element => element.matches(":not(script, title)") && hasText(element) && isVisible(element));
  const weak = inks.filter(element => contrast(element) < 4.5).map(element => element.outerHTML.slice(0, 80));

  function picture(character, family) {
    const canvas = page.document.createElement("canvas");
    const context = canvas.getContext("2d");
    context.font = "40px " + family;
    context.fillText(character, 10, 60);
    return canvas.toDataURL();
  }
  const tibetan = all('dd[lang="bo"], dd[lang="dz"]');
  const family = page.getComputedStyle(tibetan[0]).fontFamily;
  const boxes = [..."\u0f40\u0f0b\u0f66"].filter(letter => picture(letter, family) === picture("\u0f48", family));

  const curve = find("svg[data-steps]");
  const values = ["Home", "End"].map(key => {
    curve?.focus();
    curve?.dispatchEvent(new page.KeyboardEvent("keydown", {key}));
    return curve?.nextElementSibling.textContent;
  });
  return {
    places, smallest, filters, foldedHeight, height: root.scrollHeight, values,
    width: root.scrollWidth, room: root.clientWidth, weak, checked: inks.length,
    outside: outside.map(element => element.outerHTML.slice(0, 80)), cut: cut.map(element => element.outerHTML.slice(0, 80)),
    ground: page.getComputedStyle(page.document.body).backgroundColor,
    tibetan: tibetan.map(element => [element.textContent, element.getBoundingClientRect().height]), boxes: boxes.length,
    directions: all("dd").map(element => [element.lang, page.getComputedStyle(element).direction]),
    focus: page.document.activeElement === curve,
  };
}
