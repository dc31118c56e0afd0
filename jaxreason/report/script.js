// Filters of the two sections of texts. Without this script all cards are there, and the controls are not.
for (const form of document.querySelectorAll("form.filters")) {
  const section = form.closest("section");
  const cards = [...section.querySelectorAll("article.card")];
  const output = form.querySelector("output");
  const apply = () => {
    const asked = Object.fromEntries(new FormData(form));
    const words = (asked.text || "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const text = words.length ? card.textContent.toLowerCase() : "";
      const fits = words.every((word) => text.includes(word))
        && ["source", "step", "run"].every((name) => !asked[name] || card.dataset[name] === asked[name])
        && (!asked.outcome || (card.dataset.outcome || "").split("|").includes(asked.outcome));
      card.hidden = !fits;
      shown += fits;
    }
    output.textContent = shown + " of " + cards.length;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
