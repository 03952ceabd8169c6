/** Writes a row of the first page: only what has changed, in one go. */
import { artifactPath } from './addresses.js'
import { formatUtc, groupDigest, revealText } from './measures.js'
import { formatReference } from './upload-words.js'

/** @typedef {import('./upload-facts.js').UploadFacts} UploadFacts */
/** @typedef {import('./upload-words.js').UploadView} UploadView */

/**
 * @typedef {object} UploadRow
 * @property {HTMLElement} element
 * @property {(facts: UploadFacts, view: UploadView) => void} write
 */

/**
 * Takes charge of a row, from the server or a copy of the blank one.
 *
 * @param {HTMLElement} element
 * @param {string} icons Address of the sprite, up to the name of a state.
 * @returns {UploadRow}
 */
export function createRow(element, icons) {
  /** @type {Map<string, Element>} */
  const fields = new Map()
  for (const field of element.querySelectorAll('[data-field]'))
    fields.set(field.getAttribute('data-field') ?? '', field)
  const write = createWriter(fields)
  return {
    element,
    write(facts, view) {
      if (element.dataset.state !== view.state) element.dataset.state = view.state
      write.attribute('icon', 'href', icons + view.state)
      write.text('word', view.word)
      write.text('reference', formatReference(facts))
      if (facts.state === 'sealed') write.attribute('link', 'href', artifactPath(facts))
      write.text('percent', view.percent)
      write.bar('sent', view.sent)
      write.shown('verified', view.verified !== null)
      if (view.verified !== null) write.bar('verified', view.verified)
      write.text('amount', view.amount)
      write.attribute('amount', 'title', view.exact)
      write.text('pace', view.pace)
      write.text('left', view.left)
      write.text('attempt', view.attempt)
      write.attribute('attempt', 'title', facts.restartedAt ? formatUtc(facts.restartedAt) : '')
      write.text('who', revealText(facts.who))
      write.text('moved', view.moved)
      write.attribute('moved', 'title', formatUtc(facts.movedAt))
      writeEnd(write, facts, view)
    },
  }
}

/** @typedef {ReturnType<typeof createWriter>} Writer */

/**
 * What a row says when it has ended: a digest, or what went wrong.
 *
 * @param {Writer} write
 * @param {UploadFacts} facts
 * @param {UploadView} view
 */
function writeEnd(write, { sha256, problem }, view) {
  write.shown('digestLine', sha256 !== null)
  if (sha256 !== null) write.groups('digest', sha256)
  write.shown('problem', problem !== null)
  if (problem === null) return
  write.text('problemTitle', view.problem)
  write.shown('mismatch', (problem.expected ?? problem.found) !== null)
  write.groups('expected', problem.expected ?? 'nothing')
  write.groups('found', problem.found ?? 'nothing')
}

/**
 * Writes into fields what they do not say already: what does not change costs no layout.
 *
 * @param {Map<string, Element>} fields
 */
function createWriter(fields) {
  /** @type {Map<string, unknown>} */
  const written = new Map()
  /**
   * @param {string} key
   * @param {unknown} value
   * @returns {boolean}
   */
  const isNew = (key, value) => {
    if (written.get(key) === value) return false
    written.set(key, value)
    return true
  }
  return {
    /**
     * @param {string} name
     * @param {string} value
     */
    text(name, value) {
      const field = fields.get(name)
      if (field !== undefined && isNew(name, value) && field.textContent !== value)
        field.textContent = value
    },
    /**
     * @param {string} name
     * @param {string} attribute
     * @param {string} value
     */
    attribute(name, attribute, value) {
      const field = fields.get(name)
      if (field !== undefined && isNew(`${name} ${attribute}`, value))
        field.setAttribute(attribute, value)
    },
    /**
     * @param {string} name
     * @param {boolean} isShown
     */
    shown(name, isShown) {
      const field = fields.get(name)
      if (field !== undefined && isNew(`${name} shown`, isShown))
        field.toggleAttribute('hidden', !isShown)
    },
    /**
     * @param {string} name
     * @param {number | null} value `null`: not known.
     */
    bar(name, value) {
      const field = fields.get(name)
      if (field === undefined || !isNew(name, value)) return
      if (value === null) field.removeAttribute('value')
      else field.setAttribute('value', String(value))
    },
    /**
     * A digest in groups, or other text as it is.
     *
     * @param {string} name
     * @param {string} text
     */
    groups(name, text) {
      const field = fields.get(name)
      if (field === undefined || !isNew(name, text)) return
      const parts = /^[0-9a-f]{64}$/.test(text) ? groupDigest(text) : [revealText(text)]
      field.replaceChildren(
        ...parts.map((part) => {
          const span = document.createElement('span')
          span.textContent = part
          return span
        }),
      )
    },
  }
}
