// Elements of the page, and how they are made.

// One colour for one name, everywhere and always. Steps of the golden angle keep names that look alike apart.
export function hue(name: string): string {
  let sum = 0;
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)!) % 9973;
  return String(Math.round((sum * 137.508) % 360));
}

export function byId(id: string): HTMLElement {
  return document.getElementById(id)!;
}

export function element(tag: string, className = "", text = ""): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export function button(text: string, press: () => void): HTMLElement {
  const made = element("button", "quiet", text) as HTMLButtonElement;
  made.type = "button";
  made.addEventListener("click", press);
  return made;
}
