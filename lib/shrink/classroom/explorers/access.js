// What the widgets of ipywidgets 8 do not tell a screen reader or a keyboard. This is the handler of
// an image that does not load, `this`, in each view of an explorer; it runs once and then watches.
const marker = this;

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element && element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
}

function words(within, selector) {
  return (within.querySelector(selector)?.textContent ?? "").trim();
}

function number(text) {
  const value = Number(text.replace("\u2212", "-")); // d3's minus
  return Number.isNaN(value) ? text : String(value); // "64.0000" is 64
}

function tell(explorer) {
  const all = selector => explorer.querySelectorAll(selector);
  for (const slider of all(".widget-slider")) {
    const label = words(slider, ".widget-label");
    set(slider.parentElement.querySelector("input[type=number]"), {"aria-label": label});
    set(slider.querySelector(".noUi-handle"), {
      "aria-label": label,
      "aria-valuetext": number(words(slider, ".widget-readout")), // of a logarithmic one not the exponent
      "data-lm-suppress-shortcuts": "true", // its arrow keys are not the notebook's
    });
  }
  for (const choice of all(".widget-toggle-buttons")) {
    set(choice, {role: "group", "aria-label": words(choice, ".widget-label")});
    for (const button of choice.querySelectorAll("button")) {
      set(button, {"aria-pressed": String(button.classList.contains("mod-active"))});
    }
  }
  for (const tries of all(".shrink-tries")) {
    set(tries, {role: "group", "aria-label": "what to try"});
  }
  for (const bar of all(".progress")) {
    const percent = parseFloat(bar.querySelector(".progress-bar")?.style.width) || 0;
    set(bar, {role: "progressbar", "aria-label": "progress", "aria-valuenow": percent.toFixed()});
  }
  set(explorer.querySelector(".shrink-summary"), {role: "status"});
  set(explorer.querySelector("img.shrink-figure"), {alt: words(explorer, ".shrink-alt")});
  set(explorer.querySelector(".shrink-alt"), {"aria-hidden": "true"}); // the image says it now
}

function begin(tries) {
  const explorer = marker.closest(".shrink-explorer");
  if (!explorer) {
    if (tries) setTimeout(begin, 50, tries - 1); // not in the page yet
    return;
  }
  tell(explorer);
  new MutationObserver(() => tell(explorer)).observe(explorer, {
    subtree: true,
    childList: true,
    characterData: true,
    attributeFilter: ["class", "style", "aria-valuenow"],
  });
}

begin(200);
