/** `/`: every upload that runs now, and the last ones that ended. */
import { html } from 'hono/html'
import type { App } from '../http/mount.ts'
import { type InspectorParts, mountPage, renderPage } from './page.ts'

/** Mounts the first page. */
export function mountUploadsPage(app: App, _parts: InspectorParts): void {
  mountPage(app, '/', 'uploadsPage', async (c) =>
    renderPage(c, {
      title: 'Uploads now',
      nav: 'uploads',
      body: html`<h1>Uploads now</h1>`,
    }),
  )
}
