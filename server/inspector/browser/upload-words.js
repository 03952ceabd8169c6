/**
 * A row of the first page in words. Pure, and used on both sides: the server writes the first picture
 * with it, the page every change.
 */
import { formatDuration, formatExactBytes, formatSize, revealText } from './measures.js'

/** @typedef {import('./upload-facts.js').UploadFacts} UploadFacts */

/** An upload that has not moved for this long has stalled, in milliseconds. */
export const STALLED_MS = 30_000
/** One that moved within this time is moving now. */
const MOVING_MS = 5_000
/** A bar is this long. */
export const BAR_MAX = 1000

/**
 * What a row shows.
 *
 * @typedef {object} UploadView
 * @property {UploadState} state
 * @property {string} word The state in words.
 * @property {string} percent `45 %`, or nothing while that is not known.
 * @property {number | null} sent Of {@link BAR_MAX}; `null` while the size is not known.
 * @property {number | null} verified The same for what was read back; `null` unless it is verified now.
 * @property {string} amount
 * @property {string} exact Exact bytes.
 * @property {string} pace Speed, or nothing when it says nothing.
 * @property {string} left Time left, or nothing.
 * @property {string} attempt Nothing for the first.
 * @property {string} moved
 * @property {string} problem Of a failed one.
 */

/** @typedef {'sending' | 'stalled' | 'verifying' | 'sealed' | 'failed' | 'aborted' | 'expired' | 'unknown'} UploadState */

/** @type {Record<UploadState, string>} */
export const STATE_WORDS = {
  sending: 'Sending',
  stalled: 'Stalled',
  verifying: 'Verifying',
  sealed: 'Sealed',
  failed: 'Failed',
  aborted: 'Aborted',
  expired: 'Expired',
  unknown: 'Ended',
}

/**
 * @param {UploadFacts} facts
 * @param {object} at
 * @param {number} at.now Milliseconds since 1970, by the clock of the server.
 * @param {number | undefined} at.rate Bytes a second; `undefined` while that is not known.
 * @param {(instant: string) => string} at.formatClock Time of the day, for whoever reads it.
 * @returns {UploadView}
 */
export function describeUpload(facts, { now, rate, formatClock }) {
  const state = stateOf(facts, now)
  const isVerifying = state === 'verifying'
  const total = facts.totalBytes === null ? undefined : BigInt(facts.totalBytes)
  const bytes = BigInt(facts.bytes)
  const verifiedBytes = BigInt(facts.verifiedBytes)
  // While the server reads back, everything was sent: the whole is what came.
  const whole = isVerifying ? (total ?? bytes) : total
  const done = isVerifying ? verifiedBytes : bytes
  const isActive = state === 'sending' || state === 'stalled' || isVerifying
  return {
    state,
    word: STATE_WORDS[state],
    percent: isActive ? formatPercent(done, whole) : '',
    sent: isVerifying ? BAR_MAX : partOf(bytes, total),
    verified: isVerifying ? (partOf(verifiedBytes, whole) ?? 0) : null,
    amount: formatAmount(state, { done, bytes, whole }),
    exact: formatExact({ done, whole }),
    pace: state === 'sending' || isVerifying ? formatPace(rate) : '',
    left: state === 'sending' || isVerifying ? formatLeft(done, whole, rate) : '',
    attempt: formatAttempt(facts, formatClock),
    moved: formatMoved(facts, state, now),
    problem: facts.problem === null ? '' : `${facts.problem.title} (${facts.problem.code})`,
  }
}

/**
 * @param {UploadFacts} facts
 * @param {number} now
 * @returns {UploadState}
 */
export function stateOf({ state, movedAt }, now) {
  if (state !== 'open') return state
  return now - Date.parse(movedAt) >= STALLED_MS ? 'stalled' : 'sending'
}

/**
 * @param {UploadFacts} facts
 * @returns {boolean}
 */
export function isEnded({ state }) {
  return state !== 'open' && state !== 'verifying'
}

/**
 * The name as people write it.
 *
 * @param {UploadFacts} facts
 * @returns {string}
 */
export function formatReference({ task, run, name }) {
  return revealText(`${task}/${run}/${name}`)
}

/**
 * Bytes a second since it was opened: what is known before two reports came. Not after a restart, which
 * skips what the store has.
 *
 * @param {UploadFacts} facts
 * @returns {number | undefined}
 */
export function averageRate({ state, bytes, attempt, openedAt, progressAt }) {
  const seconds = (Date.parse(progressAt) - Date.parse(openedAt)) / 1000
  if (state !== 'open' || attempt > 1 || seconds < 1) return undefined
  return Number(bytes) / seconds
}

/**
 * What is said aloud when an upload comes into a state.
 *
 * @param {UploadFacts} facts
 * @param {UploadState} state
 * @returns {string}
 */
export function announceState(facts, state) {
  const reference = formatReference(facts)
  switch (state) {
    case 'sending':
      return `${reference} is being sent`
    case 'stalled':
      return `${reference} has stalled`
    case 'verifying':
      return `${reference} is being verified`
    case 'sealed':
      return `${reference} is sealed`
    case 'failed':
      return `${reference} failed: ${facts.problem?.title ?? 'the reason is not known'}`
    case 'aborted':
      return `${reference} was aborted`
    case 'expired':
      return `${reference} has expired`
    case 'unknown':
      return `${reference} has ended`
  }
}

/**
 * Uploads in words, for a heading.
 *
 * @param {number} count
 * @returns {string}
 */
export function formatCount(count) {
  if (count === 0) return 'No upload is running'
  return count === 1 ? '1 upload is running' : `${count} uploads are running`
}

/**
 * @param {bigint} done
 * @param {bigint | undefined} total
 * @returns {number | null}
 */
function partOf(done, total) {
  if (total === undefined) return null
  if (total === 0n) return BAR_MAX
  const part = Number((done * BigInt(BAR_MAX)) / total)
  return Math.max(0, Math.min(BAR_MAX, part))
}

/**
 * @param {bigint} done
 * @param {bigint | undefined} total
 * @returns {string}
 */
function formatPercent(done, total) {
  const part = partOf(done, total)
  return part === null ? '' : `${Math.floor(part / (BAR_MAX / 100))} %`
}

/**
 * @param {UploadState} state
 * @param {{ done: bigint, bytes: bigint, whole: bigint | undefined }} sizes
 * @returns {string}
 */
function formatAmount(state, { done, bytes, whole }) {
  switch (state) {
    case 'sealed':
      return formatSize(bytes)
    case 'unknown':
      return 'ended while this page was not connected'
    case 'sending':
    case 'stalled':
      return whole === undefined
        ? `${formatSize(done)}, size not known yet`
        : formatPart(done, whole)
    case 'verifying':
      return `${formatPart(done, whole ?? bytes)} read back`
    case 'failed':
    case 'aborted':
    case 'expired':
      return whole === undefined ? `${formatSize(done)} sent` : `${formatPart(done, whole)} sent`
  }
}

/**
 * `60.0 of 120.0 MiB`; both units when they differ.
 *
 * @param {bigint} done
 * @param {bigint} whole
 * @returns {string}
 */
function formatPart(done, whole) {
  const [number = '', unit = ''] = formatSize(done < whole ? done : whole).split(' ')
  const total = formatSize(whole)
  return total.endsWith(` ${unit}`) ? `${number} of ${total}` : `${number} ${unit} of ${total}`
}

/**
 * @param {{ done: bigint, whole: bigint | undefined }} sizes
 * @returns {string}
 */
function formatExact({ done, whole }) {
  if (whole === undefined) return formatExactBytes(done)
  return done >= whole
    ? formatExactBytes(whole)
    : `${formatExactBytes(done)} of ${formatExactBytes(whole)}`
}

/**
 * @param {number | undefined} rate
 * @returns {string}
 */
function formatPace(rate) {
  return rate === undefined || rate < 1 ? '' : `${formatSize(rate)}/s`
}

/**
 * @param {bigint} done
 * @param {bigint | undefined} whole
 * @param {number | undefined} rate
 * @returns {string}
 */
function formatLeft(done, whole, rate) {
  if (whole === undefined || rate === undefined || rate < 1 || done >= whole) return ''
  // Rounded up, since it is time to wait.
  return `${formatDuration(Math.ceil(Number(whole - done) / rate))} left`
}

/**
 * @param {UploadFacts} facts
 * @param {(instant: string) => string} formatClock
 * @returns {string}
 */
function formatAttempt({ attempt, restartedAt }, formatClock) {
  if (attempt <= 1) return ''
  const since = restartedAt === null ? '' : `, restarted at ${formatClock(restartedAt)}`
  return `${formatOrdinal(attempt)} attempt${since}`
}

/**
 * @param {number} number
 * @returns {string} `2nd`, `3rd`, `11th`.
 */
function formatOrdinal(number) {
  const isTeen = number % 100 >= 11 && number % 100 <= 13
  const ending = isTeen ? 'th' : (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th')
  return `${number}${ending}`
}

/**
 * @param {UploadFacts} facts
 * @param {UploadState} state
 * @param {number} now
 * @returns {string}
 */
function formatMoved({ movedAt }, state, now) {
  const ago = Math.max(0, now - Date.parse(movedAt))
  const since = formatDuration(ago / 1000)
  switch (state) {
    case 'sending':
    case 'verifying':
      return ago < MOVING_MS ? 'moving now' : `moved ${since} ago`
    case 'stalled':
      return `no movement for ${since}`
    case 'unknown':
      return `last seen ${since} ago`
    case 'sealed':
    case 'failed':
    case 'aborted':
    case 'expired':
      return ago < MOVING_MS ? 'just now' : `${since} ago`
  }
}
