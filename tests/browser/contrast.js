// Of every element with text of its own that can be seen: its contrast by WCAG 2.2 with the background that it lies on.
() => {
  const parse = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return { rgb: [red, green, blue], alpha };
  };
  const over = (front, back) => front.rgb.map((value, n) => value * front.alpha + back[n] * (1 - front.alpha));
  const background = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(parse(getComputedStyle(each).backgroundColor));
    const seen = layers.findIndex((layer) => layer.alpha === 1);
    const base = seen < 0 ? [255, 255, 255] : layers[seen].rgb;
    return layers.slice(0, seen < 0 ? undefined : seen).reverse().reduce((back, layer) => over(layer, back), base);
  };
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const ratio = (element, pseudo) => {
    const back = background(element);
    return contrast(over(parse(getComputedStyle(element, pseudo).color), back), back);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    const field = element.matches("input[placeholder]");
    if (!(own || field) || element.matches("script, noscript, option") || !element.checkVisibility()) continue;
    const text = own ? element.textContent.trim().slice(0, 40) : element.placeholder;
    found.push({ text, tag: element.tagName, ratio: ratio(element, field ? "::placeholder" : null) });
  }
  return found;
}
