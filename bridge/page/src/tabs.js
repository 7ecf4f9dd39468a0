/* Tabs as the ARIA authoring practices want them: arrows, Home and End move, the panel follows. */

export function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const select = (tab) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
  };
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const to = event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : steps[event.key] ? (i + steps[event.key] + tabs.length) % tabs.length : -1;
      if (to < 0) return;
      event.preventDefault();
      select(tabs[to]);
      tabs[to].focus();
    });
  });
}
