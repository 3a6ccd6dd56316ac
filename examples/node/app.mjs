// Stands for a user's program: it has an AWS key from Vault for as long as it runs, and
// gives it back in the end.

import nodeVault from 'node-vault';
import { Credentials } from './credentials.mjs';

const vault = nodeVault({ endpoint: process.env.VAULT_ADDR, token: process.env.VAULT_TOKEN });
const path = process.argv[2] ?? 'aws-iam/creds/app';

const credentials = await Credentials.open(vault, path, (event, about) => {
  console.log(event, about.username ?? about.message);
});

// Here the work is done, with clients that are given credentials.provider.
const { accessKeyId, expiration } = await credentials.provider();
console.log('working with', accessKeyId, 'until', expiration.toISOString(), 'at least');

const ended = new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, resolve);
  }
});
const alive = setInterval(() => {}, 60_000); // a server would be listening
await ended;
clearInterval(alive);
await credentials.close();
console.log('revoked');
