// The page: legend, pointer, selection, search, tables.
const element = (id) => document.getElementById(id)
const MOST_ROWS = 200 // of a table; the CSV has all
const panels = view.panels.map((spec) => new Panel(spec, view.size))
const kinds = view.marker === null ? {names: [""], codes: new Uint8Array(view.total)} : view.columns[view.marker].groups
const state = {colour: view.colour, chosen: [], faded: new Set(), rings: [], mode: "lasso", frames: []}
const look = {strength: new Uint8Array(view.total), colours: new Uint8Array(view.total), shapes: kinds.codes, passes: [0, 1]}
look.stamps = view.shapes.map((shape) =>
  stamp(shape, RADIUS).flatMap(([dx, dy, cover]) => [dy * panels[0].canvas.width + dx, cover])
)

// ------------------------------------------------------------------ colour and legend
function recolour() {
  const column = view.columns[state.colour]
  if (column.groups) {
    look.colours = column.groups.codes
    look.paint = Uint8Array.from(view.palette.flatMap(rgb))
  } else {
    const {low, high} = column.measure
    look.paint = Uint8Array.from([...view.scale, "#bbbbbb"].flatMap(rgb))
    look.colours = new Uint8Array(view.total)
    for (let i = 0; i < view.total; i++) {
      const found = column.values[i]
      look.colours[i] = Number.isFinite(found) ? Math.round(((found - low) / (high - low || 1)) * (view.scale.length - 1)) : view.scale.length
    }
  }
  state.faded.clear()
  legend()
  redraw()
}

/** The groups that occur: a colour and a shape each. */
const groupOf = (i) => (view.columns[state.colour].groups ? look.colours[i] : 0) * view.shapes.length + kinds.codes[i]

function mark(shape, colour) {
  const canvas = document.createElement("canvas")
  canvas.width = canvas.height = 15
  const pen = canvas.getContext("2d")
  const image = pen.createImageData(15, 15)
  for (const [dx, dy, cover] of stamp(shape, 6)) image.data.set([...rgb(colour), Math.min(cover, 255)], ((7 + dy) * 15 + 7 + dx) * 4)
  pen.putImageData(image, 0, 0)
  return canvas
}

function legend() {
  const box = element("legend")
  const column = view.columns[state.colour]
  box.replaceChildren()
  const heading = box.appendChild(document.createElement("b"))
  heading.appendChild(document.createElement("bdi")).textContent = shown(column.name)
  if (!column.groups) {
    const bar = document.createElement("canvas")
    bar.width = view.scale.length
    bar.height = 12
    const pen = bar.getContext("2d")
    view.scale.forEach((colour, at) => ((pen.fillStyle = colour), pen.fillRect(at, 0, 1, 12)))
    box.append(shown(column.measure.low), bar, shown(column.measure.high))
    if (view.marker === null) return
  }
  const counts = new Map()
  for (let i = 0; i < view.total; i++) counts.set(groupOf(i), (counts.get(groupOf(i)) ?? 0) + 1)
  for (const group of [...counts.keys()].sort((a, b) => a - b)) {
    const [colour, kind] = [Math.floor(group / view.shapes.length), group % view.shapes.length]
    const button = box.appendChild(document.createElement("button"))
    button.setAttribute("aria-pressed", "false")
    button.append(mark(view.shapes[kind], column.groups ? view.palette[colour] : "#555555"))
    const name = [column.groups?.names[colour], kinds.names[kind]].filter((text) => text).join(", ")
    button.appendChild(document.createElement("bdi")).textContent = `${shown(name)} (${counts.get(group)})`
    button.addEventListener("click", () => {
      const fades = !state.faded.delete(group)
      if (fades) state.faded.add(group)
      button.setAttribute("aria-pressed", String(fades))
      redraw()
    })
  }
}

// ------------------------------------------------------------------ drawing
function redraw() {
  const {strength} = look
  strength.fill(state.chosen.length ? 22 : 205)
  for (const i of state.chosen) strength[i] = 245
  if (state.faded.size) for (let i = 0; i < view.total; i++) if (state.faded.has(groupOf(i))) strength[i] = 0
  look.passes = state.chosen.length ? [0, 1] : [1]
  paint()
}

function paint() {
  const begun = performance.now()
  for (const panel of panels) {
    panel.draw(look)
    panel.sketch([], state.rings)
  }
  state.frames.push(performance.now() - begun)
  document.documentElement.dataset.drawn = view.total
}

let waiting = false
function soon() {
  if (!waiting) requestAnimationFrame(() => ((waiting = false), paint()))
  waiting = true
}

// ------------------------------------------------------------------ selection
function choose(rows) {
  const begun = performance.now()
  state.chosen = rows
  const near = view.neighbours && rows.length ? neighboursOf(rows).slice(0, MOST_ROWS) : []
  state.rings = near.slice(0, 30).map(([row]) => row)
  state.near = near
  state.search = performance.now() - begun
  const listed = rows.slice(0, MOST_ROWS).map((i) => view.listed.map((c) => shown(value(c, i))))
  const some = rows.length > MOST_ROWS ? `, the first ${MOST_ROWS} of them` : ""
  table("selection", `${rows.length} of ${view.total} selected${some}`, view.listed.map((c) => view.columns[c].name), listed)
  const heads = ["near to", "cosine", ...view.listed.map((c) => view.columns[c].name)]
  const lines = near.map(([row, n, cosine]) => [String(n), cosine.toFixed(3), ...view.listed.map((c) => shown(value(c, row)))])
  table("neighbours", `Nearest in another modality, by cosine in the original space (of ${rows.length}; the first 30 have a ring)`, heads, lines)
  element("save").textContent = rows.length ? `Save ${rows.length} selected as CSV` : `Save all ${view.total} as CSV`
  redraw()
}

function table(id, title, heads, lines) {
  const section = element(id)
  section.hidden = !lines.length
  section.querySelector("h2").textContent = title
  const row = (cells, tag) => {
    const line = document.createElement("tr")
    for (const text of cells) line.appendChild(document.createElement(tag)).appendChild(document.createElement("bdi")).textContent = text
    return line
  }
  section.querySelector("thead").replaceChildren(row(heads.map(shown), "th"))
  section.querySelector("tbody").replaceChildren(...lines.map((line) => row(line, "td")))
}

// ------------------------------------------------------------------ pointer
function tell(event, panel) {
  const tip = element("tip")
  const row = panel.nearest(...at(event, panel), look.strength)
  tip.hidden = row < 0
  if (row < 0) return
  tip.replaceChildren()
  if (view.thumbnails && view.thumbnails.codes[row] >= 0) {
    tip.appendChild(document.createElement("img")).src = view.thumbnails.images[view.thumbnails.codes[row]]
  }
  for (const c of view.hover) {
    const line = tip.appendChild(document.createElement("div"))
    line.appendChild(document.createElement("b")).textContent = shown(view.columns[c].name) + " "
    line.appendChild(document.createElement("bdi")).textContent = shown(value(c, row))
  }
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4))}px`
  tip.style.top = `${Math.max(0, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4))}px`
}

/** Where a pointer is on the canvas of a panel. */
function at(event, panel) {
  const box = panel.over.getBoundingClientRect()
  return [((event.clientX - box.left) * panel.over.width) / box.width, ((event.clientY - box.top) * panel.over.height) / box.height]
}

for (const panel of panels) {
  let path = null
  panel.over.addEventListener("pointerdown", (event) => {
    path = [at(event, panel)]
    panel.over.setPointerCapture(event.pointerId)
    element("tip").hidden = true
  })
  panel.over.addEventListener("pointermove", (event) => {
    if (!path) return tell(event, panel)
    const here = at(event, panel)
    const last = path[path.length - 1]
    if (state.mode === "move") {
      panel.moveX += here[0] - last[0]
      panel.moveY += here[1] - last[1]
      path = [here]
      soon()
    } else if (Math.hypot(here[0] - last[0], here[1] - last[1]) > 2) {
      path.push(here)
      panel.sketch(path, state.rings)
    }
  })
  panel.over.addEventListener("pointerup", (event) => {
    const drawn = path ?? []
    path = null
    if (state.mode === "move") return
    const rows = drawn.length > 2 ? panel.enclosed(drawn, look.strength) : [panel.nearest(...at(event, panel), look.strength)]
    choose(rows.filter((row) => row >= 0))
  })
  panel.over.addEventListener("pointerleave", () => (element("tip").hidden = true))
  panel.over.addEventListener("wheel", (event) => {
    event.preventDefault()
    panel.zoom(...at(event, panel), Math.exp(-Math.max(-300, Math.min(300, event.deltaY)) / 400))
    soon()
  }, {passive: false})
}

// ------------------------------------------------------------------ controls
for (const c of view.colours) {
  const option = element("colour").appendChild(document.createElement("option"))
  option.value = c
  option.textContent = shown(view.columns[c].name)
}
element("colour").value = view.colour
element("colour").addEventListener("change", (event) => {
  state.colour = Number(event.target.value)
  recolour()
})
for (const mode of ["lasso", "move"]) {
  element(mode).addEventListener("click", () => {
    state.mode = mode
    for (const one of ["lasso", "move"]) element(one).setAttribute("aria-pressed", String(one === mode))
  })
}
element("reset").addEventListener("click", () => (panels.forEach((panel) => panel.whole()), paint()))
const nothing = () => ((element("search").value = ""), choose([]))
element("clear").addEventListener("click", nothing)
document.addEventListener("keydown", (event) => event.key === "Escape" && nothing())
let typed
element("search").addEventListener("input", (event) => {
  clearTimeout(typed)
  typed = setTimeout(() => choose(rowsWith(event.target.value)), 150)
})
element("save").addEventListener("click", () => {
  const rows = state.chosen.length ? state.chosen : [...Array(view.total).keys()]
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([csv(rows)], {type: "text/csv"}))
  link.download = "selection.csv"
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 1000)
})

recolour()
choose([])
document.documentElement.dataset.ready = "yes"
