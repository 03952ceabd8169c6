/**
 * Checks a stream of bytes against a record while it passes: size, every part, the whole. Pure: what
 * hashes is handed in.
 *
 * @typedef {{ number: number, sizeBytes: number, sha256: string }} Part
 * @typedef {{ sizeBytes: number, sha256: string, parts: Part[] }} ExpectedBytes
 * @typedef {{ init(): unknown, update(bytes: Uint8Array): unknown, digest(): string }} Hasher
 *   Of SHA-256; `digest` gives lower-case hexadecimal digits.
 * @typedef {{ what: 'size' | 'part' | 'whole', number?: number, expected: string, found: string }} Refusal
 * @typedef {{ update(bytes: Uint8Array): Refusal | undefined, finish(): Refusal | undefined }} StreamCheck
 */

/**
 * `update` takes the bytes in order, `finish` follows the last of them. The first refusal is final:
 * nothing may be used then. Only when `finish` answers `undefined` are the bytes those of the record.
 *
 * @param {ExpectedBytes} expected
 * @param {() => Hasher} createHasher
 * @returns {StreamCheck}
 */
export function createStreamCheck(expected, createHasher) {
  const whole = createHasher()
  const part = createHasher()
  whole.init()
  part.init()
  let seenBytes = 0
  let index = 0
  let partBytes = 0
  const partsBytes = expected.parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)

  /** @param {Uint8Array} bytes @returns {Refusal | undefined} */
  const updateParts = (bytes) => {
    // The only part of an artifact is the whole.
    if (expected.parts.length < 2) return undefined
    let rest = bytes
    while (rest.length > 0) {
      const current = expected.parts[index]
      if (current === undefined) return undefined
      const taken = rest.subarray(0, current.sizeBytes - partBytes)
      part.update(taken)
      partBytes += taken.length
      rest = rest.subarray(taken.length)
      if (partBytes < current.sizeBytes) continue
      const found = part.digest()
      if (found !== current.sha256)
        return { what: 'part', number: current.number, expected: current.sha256, found }
      part.init()
      partBytes = 0
      index++
    }
    return undefined
  }

  return {
    update(bytes) {
      seenBytes += bytes.length
      if (seenBytes > expected.sizeBytes)
        return { what: 'size', expected: `${expected.sizeBytes}`, found: `at least ${seenBytes}` }
      whole.update(bytes)
      return updateParts(bytes)
    },
    finish() {
      if (seenBytes !== expected.sizeBytes)
        return { what: 'size', expected: `${expected.sizeBytes}`, found: `${seenBytes}` }
      if (partsBytes !== expected.sizeBytes)
        return { what: 'size', expected: `${expected.sizeBytes}`, found: `${partsBytes} in parts` }
      const found = whole.digest()
      return found === expected.sha256
        ? undefined
        : { what: 'whole', expected: expected.sha256, found }
    },
  }
}
