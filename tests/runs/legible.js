// What a reader could not read: texts with too little contrast to what lies below them, controls without a label.
(() => {
  const parts = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    return [...found.slice(0, 3), found.length > 3 ? found[3] : 1];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((one, at) => one * a + below[at] * (1 - a));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const opacity = (element) => {
    let all = 1;
    for (let at = element; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  };
  const bad = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), below = ground(element);
    const [r, g, b, a] = parts(element.closest("svg") ? style.fill : style.color);
    const [one, other] = [luminance(over([r, g, b, a * opacity(element)], below)), luminance(below)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    const ratio = (one + 0.05) / (other + 0.05);
    const drawn = element.getScreenCTM?.(), scale = drawn ? Math.hypot(drawn.a, drawn.b) : 1;
    if (parseFloat(style.fontSize) * scale < 8) bad.push("too small: " + node.textContent.trim().slice(0, 60));
    if (ratio < (large ? 3 : 4.5)) bad.push(`${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 60)}`);
  }
  for (const control of document.querySelectorAll("input, select, textarea, button")) {
    if (!control.labels?.length && !control.getAttribute("aria-label") && !control.textContent.trim()) bad.push("no label: " + control.outerHTML);
  }
  for (const picture of document.querySelectorAll("svg, img, canvas")) {
    const named = picture.getAttribute("aria-label") || picture.getAttribute("alt") || picture.querySelector("title");
    const hidden = picture.closest("[aria-hidden=true]");
    if (!named && !hidden && picture.parentElement.closest("svg") === null) bad.push("no name: " + picture.outerHTML.slice(0, 60));
  }
  if (!document.documentElement.lang || !document.title.trim()) bad.push("no language or title");
  return bad;
})()
