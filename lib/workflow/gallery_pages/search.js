// Hides what does not hold every word that was typed. Without scripts everything stays in sight.
"use strict"
{
  const field = document.getElementById("search")
  if (field) {
    field.closest(".search").hidden = false
    const cards = [...document.querySelectorAll("[data-search]")].map((card) => [card, card.textContent.toLowerCase()])
    const look = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter((word) => word)
      let found = 0
      for (const [card, text] of cards) {
        card.hidden = !words.every((word) => text.includes(word))
        found += !card.hidden
      }
      document.getElementById("found").textContent = words.length ? `${found} of ${cards.length}` : ""
    }
    field.addEventListener("input", look)
    if (location.hash.startsWith("#search=")) field.value = decodeURIComponent(location.hash.slice(8))
    look()
  }
}
