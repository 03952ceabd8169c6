import { readFileSync } from 'node:fs'

/** Version of this package, from its own `package.json`. */
export function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  const found: unknown = JSON.parse(text)
  if (typeof found === 'object' && found !== null && 'version' in found)
    return String(found.version)
  throw new Error('package.json has no version')
}
