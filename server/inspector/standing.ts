/** How an artifact stands, as people read it: sealed how, seen when, revoked, removed, altered. */
import { html } from 'hono/html'
import type { Artifact } from '../../schemas/artifact.ts'
import type { Verification } from '../../schemas/verification.ts'
import type { Standing } from '../records/inspection.ts'
import { formatDuration } from './browser/measures.js'
import { type Html, timeOf } from './pieces.ts'

/** What a mark means, told by shape and word as well as by colour. */
export type Tone = 'good' | 'bad' | 'wait' | 'plain'

/** Drawn in a box of 16 by 16. */
const SHAPES: Record<Tone, string> = {
  good: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13zM4.8 8.2l2.3 2.4 4.2-4.8',
  bad: 'M8 1.2L15 14.4H1zM8 6v4M8 11.6v1.2',
  wait: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13zM8 4.4V8l2.6 1.8',
  plain: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13z',
}

/** A shape and words. */
export function markOf(tone: Tone, words: Html | string): Html {
  return html`<span class="verdict verdict-${tone}"><svg class="verdict-shape" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false"><path d="${SHAPES[tone]}"/></svg><span>${words}</span></span>`
}

/** The state of an artifact in a few words: the worst that is known comes first. */
export function formatStanding(artifact: Pick<Artifact, 'policy'>, standing: Standing): Html {
  const { statements, outcome, seenAt } = standing
  const seen = seenAt === undefined ? '' : html` ${timeOf(seenAt.toISOString())}`
  if (statements.includes('remove')) return markOf('plain', 'Removed; the record stays')
  if (outcome === 'missing') return markOf('bad', html`Missing from the store, seen${seen}`)
  if (outcome === 'mismatch') return markOf('bad', html`Altered in the store, seen${seen}`)
  if (statements.includes('revoke')) return markOf('bad', 'Revoked')
  if (outcome === 'agreed') return markOf('good', html`Verified again${seen}`)
  return markOf('good', formatSealCheck(artifact.policy))
}

/** What the seal itself looked at. */
export function formatSealCheck(policy: Artifact['policy']): string {
  return policy === 'reread' ? 'Sealed and re-read' : 'Sealed, parts checked by the store'
}

/** What one look at the stored bytes found. */
export function formatOutcome({ outcome, code }: Verification): Html {
  switch (outcome) {
    case 'agreed':
      return markOf('good', 'Agreed')
    case 'missing':
      return markOf('bad', 'Missing from the store')
    case 'mismatch':
      return markOf('bad', MISMATCHES[code ?? ''] ?? 'Did not agree')
  }
}

const MISMATCHES: Readonly<Record<string, string>> = {
  size_mismatch: 'Another size',
  part_mismatch: 'A part differs',
  digest_mismatch: 'Another SHA-256',
  precondition_failed: 'Another object in its place',
}

/** How long something took. */
export function formatTook(seconds: number): string {
  return seconds < 1 ? 'under 1 s' : formatDuration(seconds)
}
