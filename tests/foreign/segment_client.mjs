// Drives Segment's own Node client, unmodified but for the host. Usage: HOST WRITE_KEY PREFIX COUNT WHEN MODULES
import { createRequire } from 'node:module';

const [host, writeKey, prefix, count, when, modules] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { Analytics } = require('@segment/analytics-node');

const faults = [];
const analytics = new Analytics({ writeKey, host, maxRetries: 2, flushAt: 20, flushInterval: 200 });
analytics.on('error', (fault) => faults.push(String(fault.code ?? fault)));
const userId = `${prefix}-user`;
const timestamp = new Date(when);
analytics.identify({ userId, traits: { first_name: 'Anne', plan: 'vip' }, messageId: `${prefix}-identify`, timestamp });
analytics.page({ userId, name: 'Home', properties: { url: 'https://shop.example/' }, messageId: `${prefix}-page`, timestamp });
analytics.screen({ userId, name: 'Main', messageId: `${prefix}-screen`, timestamp });
analytics.group({ userId, groupId: `${prefix}-company`, traits: { name: 'Acme' }, messageId: `${prefix}-group`, timestamp });
for (let n = 0; n < Number(count); n += 1) {
  analytics.track({ userId, event: 'Thing Done', properties: { n }, messageId: `${prefix}-track-${n}`, timestamp });
}
await analytics.closeAndFlush({ timeout: 20000 });
console.log('faults:', JSON.stringify(faults));
process.exit(faults.length === 0 ? 0 : 1);
