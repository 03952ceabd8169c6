/**
 * Every endpoint as data. The server mounts from this table, the client calls from it, and
 * `/openapi.json` is made from it, so the three cannot disagree.
 *
 * A name in a path is one segment: its slashes are sent as `%2F`. The content address also takes
 * them as they are, so that `curl -L …/content/logs/build.txt` works.
 */
import { artifactEndpoints } from './artifact-endpoints.ts'
import { contentEndpoints } from './content-endpoints.ts'
import type { Endpoint } from './endpoint.ts'
import { logEndpoints } from './log-endpoints.ts'
import { runEndpoints } from './run-endpoints.ts'
import { tokenEndpoints } from './token-endpoints.ts'
import { uploadEndpoints } from './upload-endpoints.ts'

export const endpoints = {
  ...uploadEndpoints,
  ...runEndpoints,
  ...artifactEndpoints,
  ...contentEndpoints,
  ...logEndpoints,
  ...tokenEndpoints,
} as const satisfies Record<string, Endpoint>

export type Endpoints = typeof endpoints
