/** The cookie of a session (RFC 6265bis): for this site's own pages alone, and out of reach of scripts. */

const NAME = 'artifact_session'

/** The secret in a `Cookie` header; `undefined` without one. */
export function readSessionCookie(header: string | undefined): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const [name, value] = pair.trim().split('=', 2)
    if (name === NAME && value !== undefined && value !== '') return value
  }
  return undefined
}

/** `Set-Cookie` for a session; `secure` when the request came by https. */
export function formatSessionCookie(
  secret: string,
  maxAgeSeconds: number,
  secure: boolean,
): string {
  const parts = [
    `${NAME}=${secret}`,
    'Path=/',
    `Max-Age=${Math.max(0, Math.floor(maxAgeSeconds))}`,
    'HttpOnly',
    'SameSite=Strict',
    ...(secure ? ['Secure'] : []),
  ]
  return parts.join('; ')
}
