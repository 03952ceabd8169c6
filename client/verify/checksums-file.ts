/**
 * The file that `sha256sum -c` reads (GNU coreutils manual, "cksum output modes"), binary mode left
 * out, since on POSIX systems it says nothing.
 *
 *     file = *line
 *     line = [ "\" ] 64HEXDIG "  " name LF
 *
 * When a name has a backslash, LF or CR, the line starts with a backslash, and in the name they are
 * written `\\`, `\n` and `\r`. For example, with the digest shortened:
 *
 *     e3b0c442…b855  logs/build.txt
 */
import { ArtifactError } from '../../schemas/problems.ts'

export interface ChecksumLine {
  /** 64 lower-case hexadecimal digits. */
  sha256: string
  name: string
}

/** One line, its LF included. */
export function formatChecksumLine({ sha256, name }: ChecksumLine): string {
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `${escaped === name ? '' : '\\'}${sha256}  ${escaped}\n`
}

/** All lines of a file; throws `usage` for the first one that it cannot read. */
export function parseChecksumsFile(text: string): ChecksumLine[] {
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line, index) => parseLine(line, index + 1))
}

function parseLine(line: string, number: number): ChecksumLine {
  // The second space is a star when the line was written in binary mode.
  const match = /^(\\?)([0-9a-fA-F]{64}) [ *](.+)$/s.exec(line)
  if (match === null) throw unreadable(line, number)
  const [, mark, sha256 = '', rest = ''] = match
  const name = mark === '' ? rest : unescapeName(rest)
  if (name === undefined) throw unreadable(line, number)
  return { sha256: sha256.toLowerCase(), name }
}

function unescapeName(text: string): string | undefined {
  if (/\\(?![nr])/.test(text.replaceAll('\\\\', ''))) return undefined
  return text.replace(/\\([\\nr])/g, (_, letter: string) =>
    letter === 'n' ? '\n' : letter === 'r' ? '\r' : '\\',
  )
}

function unreadable(line: string, number: number): ArtifactError {
  return new ArtifactError('usage', `Cannot read checksums: line ${number} is not one`, {
    expected: '64 hexadecimal digits, two spaces, a name',
    found: JSON.stringify(line.slice(0, 100)),
  })
}
