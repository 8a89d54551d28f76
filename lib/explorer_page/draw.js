// Points as pixels: stamps of a shape and colour, mixed into an image of the panel. A browser without a GPU draws 100,000 so in
// some tens of milliseconds, where a path a point would take seconds.
const RATIO = Math.min(window.devicePixelRatio || 1, 2)
const RADIUS = Math.max(1, Math.round((view.total <= 3000 ? 4 : view.total <= 20000 ? 3 : view.total <= 300000 ? 1.5 : 0.6) * RATIO))
const INSIDE = {
  circle: (x, y) => x * x + y * y <= 1,
  triangle: (x, y) => y <= 0.75 && Math.abs(x) <= (y + 1) * 0.58,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.82,
  diamond: (x, y) => Math.abs(x) + Math.abs(y) <= 1.1,
  plus: (x, y) => Math.min(Math.abs(x), Math.abs(y)) <= 0.3 && Math.max(Math.abs(x), Math.abs(y)) <= 1,
}

/** The pixels of a shape: [dx, dy, how much of it is covered of 256]. */
function stamp(shape, radius) {
  const pixels = []
  for (let dy = -radius; dy <= radius; dy++) {
    for (let dx = -radius; dx <= radius; dx++) {
      let covered = 0
      for (let a = 0; a < 4; a++) for (let b = 0; b < 4; b++) {
        covered += INSIDE[shape]((dx + (a - 1.5) / 4) / (radius + 0.3), (dy + (b - 1.5) / 4) / (radius + 0.3))
      }
      if (covered) pixels.push([dx, dy, covered * 16])
    }
  }
  return pixels
}

const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16))

class Panel {
  constructor(spec, size) {
    this.x = view.columns[spec.x].values
    this.y = view.columns[spec.y].values
    const figure = document.createElement("figure")
    figure.className = "panel"
    const caption = figure.appendChild(document.createElement("figcaption"))
    caption.appendChild(document.createElement("bdi")).textContent = spec.title
    const frame = figure.appendChild(document.createElement("div"))
    this.canvas = frame.appendChild(document.createElement("canvas"))
    this.over = frame.appendChild(document.createElement("canvas"))
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = canvas.height = size * RATIO
      canvas.style.width = `${size}px`
    }
    document.getElementById("panels").appendChild(figure)
    this.pen = this.canvas.getContext("2d", {alpha: false})
    this.image = this.pen.createImageData(this.canvas.width, this.canvas.height)
    this.words = new Uint32Array(this.image.data.buffer)
    this.whole()
  }

  /** Show all points, with a little room around them. */
  whole() {
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity]
    for (let i = 0; i < this.x.length; i++) {
      if (this.x[i] < left) left = this.x[i]
      if (this.x[i] > right) right = this.x[i]
      if (this.y[i] < low) low = this.y[i]
      if (this.y[i] > high) high = this.y[i]
    }
    const side = this.canvas.width
    this.scaleX = (side * 0.92) / (right - left || 1)
    this.scaleY = (side * 0.92) / (high - low || 1)
    this.moveX = side / 2 - ((left + right) / 2) * this.scaleX
    this.moveY = side / 2 + ((low + high) / 2) * this.scaleY
  }

  /** Where row i lies on the canvas. */
  place(i) {
    return [this.x[i] * this.scaleX + this.moveX, this.moveY - this.y[i] * this.scaleY]
  }

  zoom(x, y, factor) {
    this.moveX = x - (x - this.moveX) * factor
    this.moveY = y - (y - this.moveY) * factor
    this.scaleX *= factor
    this.scaleY *= factor
  }

  /** Draw all: faded points first, then the others. `strength(i)` is 0 (left out) to 256. */
  draw(look) {
    this.words.fill(0xffffffff)
    const data = this.image.data
    const side = this.canvas.width
    const {paint, colours, shapes, stamps, strength} = look
    for (const pass of look.passes) {
      for (let i = 0; i < this.x.length; i++) {
        const strong = strength[i]
        if (strong === 0 || (strong < 100 ? 0 : 1) !== pass) continue
        const px = Math.round(this.x[i] * this.scaleX + this.moveX)
        const py = Math.round(this.moveY - this.y[i] * this.scaleY)
        if (px < RADIUS || py < RADIUS || px >= side - RADIUS || py >= side - RADIUS) continue
        const colour = colours[i] * 3
        const pixels = stamps[shapes[i]]
        for (let p = 0; p < pixels.length; p += 2) {
          const at = (py * side + px + pixels[p]) * 4
          const cover = (pixels[p + 1] * strong) >> 8
          data[at] += ((paint[colour] - data[at]) * cover) >> 8
          data[at + 1] += ((paint[colour + 1] - data[at + 1]) * cover) >> 8
          data[at + 2] += ((paint[colour + 2] - data[at + 2]) * cover) >> 8
        }
      }
    }
    this.pen.putImageData(this.image, 0, 0)
  }

  /** What lies over the points: the path of the lasso, and rings around some rows. */
  sketch(path, rings) {
    const pen = this.over.getContext("2d")
    pen.clearRect(0, 0, this.over.width, this.over.height)
    pen.lineWidth = 1.5 * RATIO
    pen.strokeStyle = "#000"
    for (const i of rings) {
      const [x, y] = this.place(i)
      pen.beginPath()
      pen.arc(x, y, RADIUS + 3 * RATIO, 0, 7)
      pen.stroke()
    }
    if (!path.length) return
    pen.setLineDash([5, 4])
    pen.fillStyle = "#0b539422"
    pen.beginPath()
    for (const [x, y] of path) pen.lineTo(x, y)
    pen.closePath()
    pen.fill()
    pen.stroke()
    pen.setLineDash([])
  }

  /** The rows inside a path on the canvas (even-odd), of those that are not left out. */
  enclosed(path, strength) {
    const xs = path.map(([x]) => x)
    const ys = path.map(([, y]) => y)
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
    const rows = []
    for (let i = 0; i < this.x.length; i++) {
      const x = this.x[i] * this.scaleX + this.moveX
      const y = this.moveY - this.y[i] * this.scaleY
      if (x < left || x > right || y < top || y > bottom || strength[i] === 0) continue
      let inside = false
      for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
        if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) inside = !inside
      }
      if (inside) rows.push(i)
    }
    return rows
  }

  /** The row drawn nearest to a place, within 8 pixels; -1 when none is. */
  nearest(x, y, strength) {
    let [best, row] = [(8 * RATIO) ** 2, -1]
    for (let i = 0; i < this.x.length; i++) {
      const dx = this.x[i] * this.scaleX + this.moveX - x
      const dy = this.moveY - this.y[i] * this.scaleY - y
      const far = dx * dx + dy * dy
      if (far < best && strength[i] !== 0) [best, row] = [far, i]
    }
    return row
  }
}
