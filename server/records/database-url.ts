/**
 * The address of a database, as libpq writes it (PostgreSQL manual, section 34.1.1.2), for what
 * postgres.js does not do with it: certificates, and no silence about a parameter it cannot keep.
 */
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'
import { ArtifactError } from '../../schemas/problems.ts'

export interface DatabaseAddress {
  /** The URL without the parameters about TLS. Holds the password. */
  address: string
  /** What postgres.js takes as `ssl`. */
  tls: false | 'prefer' | 'require' | ConnectionOptions
}

/** Parameters that postgres.js understands itself. */
const KEPT = ['application_name', 'connect_timeout', 'target_session_attrs']
const CONSUMED = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey']
const SHAPE = 'expected postgres://USER:PASSWORD@HOST:PORT/DATABASE'

/**
 * Reads `postgres://user:password@host:port/database` with the parameters `sslmode` (disable, prefer
 * [the default], require, verify-ca, verify-full), `sslrootcert` (a file, or `system`), `sslcert`,
 * `sslkey`, `application_name`, `connect_timeout` and `target_session_attrs`.
 *
 * `require` encrypts without asking who answers; `verify-full` asks, and `verify-ca` asks all but the
 * name. As in libpq, `sslrootcert` turns `require` into `verify-ca`.
 *
 * Throws `configuration`; its message never holds the URL, which may hold a password.
 */
export async function parseDatabaseUrl(url: string): Promise<DatabaseAddress> {
  if (!/^postgres(ql)?:\/\/[^/?#]/.test(url)) throw unreadable(SHAPE)
  const [address = '', search = ''] = url.split('?', 2)
  // Several hosts are the one thing that the URL standard does not know.
  if (!URL.canParse(address.replace(/,[^/]*/, ''))) throw unreadable(SHAPE)
  const parameters = new URLSearchParams(search)
  for (const name of parameters.keys())
    if (!KEPT.includes(name) && !CONSUMED.includes(name))
      throw unreadable(`the parameter ${name} is not supported`)
  const kept = [...parameters].filter(([name]) => KEPT.includes(name))
  return {
    address: kept.length === 0 ? address : `${address}?${new URLSearchParams(kept)}`,
    tls: await readTls(parameters, readHosts(address)),
  }
}

/** Several hosts have commas between them. */
function readHosts(address: string): string[] {
  const authority = address.replace(/^[^:]+:\/\//, '').split('/', 1)[0] ?? ''
  const hosts = authority.slice(authority.lastIndexOf('@') + 1)
  // postgres.js takes the first colon for the one before the port.
  if (hosts.includes('[')) throw unreadable('it has an IPv6 address; give the name of that host')
  return hosts.split(',').map((host) => host.split(':', 1)[0] ?? '')
}

async function readTls(
  parameters: URLSearchParams,
  hosts: readonly string[],
): Promise<DatabaseAddress['tls']> {
  const root = parameters.get('sslrootcert')
  const mode = parameters.get('sslmode') ?? (root === 'system' ? 'verify-full' : 'prefer')
  const cert = parameters.get('sslcert')
  const key = parameters.get('sslkey')
  const own = {
    ...(cert === null ? {} : { cert: await readPem('sslcert', cert) }),
    ...(key === null ? {} : { key: await readPem('sslkey', key) }),
  }
  const trusted =
    root === null || root === 'system' ? {} : { ca: await readPem('sslrootcert', root) }
  switch (mode) {
    case 'disable':
      return false
    case 'allow':
    case 'prefer':
      return 'prefer'
    case 'require':
      if (root !== null) return { ...own, ...trusted, checkServerIdentity: () => undefined }
      return cert === null ? 'require' : { ...own, rejectUnauthorized: false }
    case 'verify-ca':
      return { ...own, ...trusted, checkServerIdentity: () => undefined }
    case 'verify-full':
      return { ...own, ...trusted, ...checkName(hosts) }
    default:
      throw unreadable(`sslmode is ${JSON.stringify(mode)}`)
  }
}

/**
 * Node compares the certificate with the name of the host that postgres.js passes on, and with
 * "localhost" when it passes none, as for a numeric address: that is compared here.
 */
function checkName(hosts: readonly string[]): ConnectionOptions {
  if (!hosts.some((host) => isIP(host) !== 0)) return {}
  const [address] = hosts
  if (address === undefined || hosts.length > 1)
    throw unreadable('of several hosts sslmode=verify-full takes names, not numeric addresses')
  return { checkServerIdentity: (_, certificate) => checkServerIdentity(address, certificate) }
}

async function readPem(parameter: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new ArtifactError(
      'configuration',
      `Cannot read the database URL: ${parameter} ${path} cannot be read`,
      { cause: error },
    )
  }
}

function unreadable(state: string): ArtifactError {
  return new ArtifactError('configuration', `Cannot read the database URL: ${state}`)
}
