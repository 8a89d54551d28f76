// What the page holds, as typed arrays, and what a cell of it says.
"use strict"
const view = JSON.parse(document.getElementById("view").textContent)
const KINDS = {u1: Uint8Array, i4: Int32Array, f4: Float32Array, f8: Float64Array}
const LONGEST = 600 // letters of a text that are shown; the CSV has all

function array({kind, data}) {
  const text = atob(data)
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i)
  return new KINDS[kind](bytes.buffer)
}

for (const column of view.columns) {
  column.values = array(column.values)
  if (column.groups) column.groups.codes = array(column.groups.codes)
}
for (const key of ["rows", "cosines"]) if (view.neighbours) view.neighbours[key] = array(view.neighbours[key])
if (view.thumbnails) view.thumbnails.codes = array(view.thumbnails.codes)

/** The value of column c at row i: text, number, or null where there is none. */
function value(c, i) {
  const column = view.columns[c]
  const found = column.values[i]
  if (column.levels) return found < 0 ? null : column.levels[found]
  return Number.isNaN(found) ? null : found
}

function shown(found) {
  if (found === null) return ""
  if (typeof found === "number") return Number.isInteger(found) ? String(found) : String(Number(found.toPrecision(6)))
  return found.length > LONGEST ? found.slice(0, LONGEST) + "\u2026" : found
}

/** One cell of the CSV. A text that a spreadsheet would take for a formula gets an apostrophe. */
function quoted(found) {
  if (found === null) return ""
  let text = String(found)
  if (typeof found === "string" && /^[\s]*[=+\-@\t\r]/.test(text)) text = "'" + text
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text
}

function csv(rows) {
  const columns = [...view.columns.keys()]
  const lines = [["row", ...view.columns.map((column) => column.name)]]
  for (const i of rows) lines.push([i, ...columns.map((c) => value(c, i))])
  return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n"
}

/** The rows in which every word stands in some text; texts that are the same are looked at once. */
function rowsWith(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter((word) => word)
  const texts = view.columns.filter((column) => column.levels)
  for (const column of texts) column.lower ??= column.levels.map((text) => text.toLowerCase())
  const rows = []
  if (!wanted.length) return rows
  const hits = texts.map((column) => wanted.map((word) => column.lower.map((text) => text.includes(word))))
  for (let i = 0; i < view.total; i++) {
    const has = (word) => texts.some((column, t) => column.values[i] >= 0 && hits[t][word][column.values[i]])
    if (wanted.every((_, word) => has(word))) rows.push(i)
  }
  return rows
}

/** Rows of another modality near the chosen ones: [row, of how many it is among the nearest, mean cosine], most first. */
function neighboursOf(rows) {
  const {k, rows: near, cosines} = view.neighbours
  const times = new Map()
  for (const i of rows) {
    for (let j = i * k; j < (i + 1) * k; j++) {
      if (near[j] < 0) continue
      const one = times.get(near[j]) ?? [near[j], 0, 0]
      one[1] += 1
      one[2] += cosines[j]
      times.set(near[j], one)
    }
  }
  return [...times.values()].map(([row, n, sum]) => [row, n, sum / n]).sort((a, b) => b[1] - a[1] || b[2] - a[2])
}
