// A key of a role, under a lease that is renewed at half of its time, and followed by
// another where it cannot be renewed for long enough.

import { setTimeout as sleep } from 'node:timers/promises';

const retryPause = 1_000; // after an error

export class Credentials {
  #vault;
  #path;
  #onEvent;
  #lease;
  #stop = new AbortController();
  #keeping;

  // open reads the first key. onEvent is told what happens: 'issued', 'renewed' and
  // 'failed', with the lease, which holds no secret, or the error.
  static async open(vault, path, onEvent = () => {}) {
    const credentials = new Credentials();
    credentials.#vault = vault;
    credentials.#path = path;
    credentials.#onEvent = onEvent;
    await credentials.#issue();
    credentials.#keeping = credentials.#keep();
    return credentials;
  }

  // provider is a credential provider for the clients of AWS's SDK: new S3Client({
  // credentials: credentials.provider }). They ask it again as the expiration nears.
  provider = async () => {
    if (this.#lease.end <= Date.now()) {
      throw new Error(`the lease of ${this.#lease.username} has ended`);
    }
    return { ...this.#lease.key, expiration: new Date(this.#lease.end) };
  };

  // close ends the lease, and with it the IAM user.
  async close() {
    this.#stop.abort();
    await this.#keeping;
    await this.#vault.revoke({ lease_id: this.#lease.id });
  }

  async #issue() {
    const asked = Date.now();
    const { lease_id: id, lease_duration: seconds, data } = await this.#vault.read(this.#path);
    const lease = { id, ttl: seconds, end: asked + seconds * 1000, username: data.username };
    // Not enumerable: who prints the lease does not print the key.
    Object.defineProperty(lease, 'key', {
      value: { accessKeyId: data.access_key_id, secretAccessKey: data.secret_access_key },
    });
    this.#lease = lease;
    this.#onEvent('issued', lease);
  }

  // renew says whether that was for at least half of the time of the issue.
  async #renew() {
    const asked = Date.now();
    const { lease_duration: seconds } = await this.#vault.renew({ lease_id: this.#lease.id });
    this.#lease.end = asked + seconds * 1000;
    return seconds >= this.#lease.ttl / 2;
  }

  async #keep() {
    for (let pause = this.#half(); await this.#wait(pause); ) {
      try {
        if (await this.#renewed()) {
          this.#onEvent('renewed', this.#lease);
        } else {
          await this.#issue(); // those who have the earlier key use it until its end
        }
        pause = this.#half();
      } catch (error) {
        this.#onEvent('failed', error);
        pause = retryPause;
      }
    }
  }

  // renewed is false where Vault refuses, as for a lease that was revoked.
  async #renewed() {
    if (this.#lease.end <= Date.now()) {
      return false;
    }
    try {
      return await this.#renew();
    } catch (error) {
      if (error.response?.statusCode < 500) {
        return false;
      }
      throw error;
    }
  }

  #half() {
    return Math.max((this.#lease.end - Date.now()) / 2, 500);
  }

  async #wait(pause) {
    // A timer of more than 24 days would fire at once.
    await sleep(Math.min(pause, 86_400_000), undefined, { signal: this.#stop.signal }).catch(() => {});
    return !this.#stop.signal.aborted;
  }
}
