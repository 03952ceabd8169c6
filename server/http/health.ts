/** Doors for machines that watch the server: `/healthz`, `/readyz`, `/metrics`, `/openapi.json`. */
import { ArtifactError } from '../../schemas/problems.ts'
import { unauthenticated } from '../access/tokens.ts'
import type { Metrics } from '../metrics.ts'
import type { App } from './mount.ts'

export interface Health {
  /** Throws when Postgres or the store cannot be used now. */
  checkReady: (signal: AbortSignal) => Promise<void>
  metrics: Metrics
  openApi: object
}

/** A check that hangs is a check that failed. */
const READY_TIMEOUT_MS = 5000

/** `/healthz`: the process lives. `/readyz`: database and store answer, else 503. */
export function mountHealth(app: App, health: Health): void {
  app.get('/healthz', (c) => {
    c.set('endpoint', 'healthz')
    return c.json({ status: 'ok' })
  })

  app.get('/readyz', async (c) => {
    c.set('endpoint', 'readyz')
    try {
      await health.checkReady(AbortSignal.timeout(READY_TIMEOUT_MS))
      return c.json({ status: 'ready' })
    } catch (error) {
      if (error instanceof ArtifactError && error.row.status === 503) throw error
      throw new ArtifactError('overloaded', 'Cannot serve: a check failed', { cause: error })
    }
  })

  app.get('/metrics', async (c) => {
    c.set('endpoint', 'metrics')
    // Counts tell how busy a customer is: any token will do, none will not.
    if (c.get('principal').token === undefined) throw unauthenticated()
    const { contentType, text } = await health.metrics.collect()
    return c.body(text, 200, { 'content-type': contentType })
  })

  app.get('/openapi.json', (c) => {
    c.set('endpoint', 'openapi')
    return c.json(health.openApi)
  })
}
