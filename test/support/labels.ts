/**
 * Labels at the limit: 31 of 1,024 quotes, each of which Postgres writes as two bytes, and one more. With
 * 848 quotes in that one these are 65,536 bytes.
 */
export function fillLabels(last: string): Record<string, string> {
  const names = Array.from({ length: 32 }, (_, at) => `k${String(at).padStart(2, '0')}`)
  return Object.fromEntries(names.map((name, at) => [name, at < 31 ? '"'.repeat(1024) : last]))
}
