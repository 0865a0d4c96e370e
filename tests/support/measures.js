// What the scripts that measure a page share: whether an element is visible, and the contrast of its text (WCAG 2).
const isVisible = element => element.checkVisibility() && element.getBoundingClientRect().width > 0;
const numbers = colour => colour.match(/[\d.]+/g).map(Number);
const styleOf = element => element.ownerDocument.defaultView.getComputedStyle(element);

function ground(element) {
  for (let one = element; one; one = one.parentElement) {
    const [r, g, b, a = 1] = numbers(styleOf(one).backgroundColor);
    if (a === 1) return [r, g, b];
  }
  return null;
}

function luminance(colour) {
  const [r, g, b] = colour.map(value => value / 255).map(
    share => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(element) {
  const ink = numbers(element.closest("svg") ? styleOf(element).fill : styleOf(element).color);
  const [low, high] = [luminance(ink.slice(0, 3)), luminance(ground(element))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
