// When the next attempt to connect begins: exponential back-off with jitter, and a time that the page can count down to.
//
// The SDK backs off too, but keeps its delay to itself. So it is told not to wait, and we wait in its `getData` callback,
// which it calls before each attempt.

const FIRST_MS = 500;
const LONGEST_MS = 20_000;

export class Reconnect {
  readonly options = { minReconnectDelay: 1, maxReconnectDelay: 1 };
  private attempt = 0; // since the last success; the very first one doesn't wait
  private go: () => void = () => undefined;

  // tell: called with the time of the next attempt (as Date.now() counts), and with null when it begins.
  constructor(private readonly tell: (until: number | null) => void) {
    addEventListener("online", this.now);
    document.addEventListener("visibilitychange", this.now);
  }

  // Ends when the next attempt may begin.
  async turn(): Promise<void> {
    if (this.attempt++ === 0) return;
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.attempt - 2));
    const delay = longest * (0.5 + Math.random() / 2);
    this.tell(Date.now() + delay);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.go = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.tell(null);
  }

  succeeded(): void {
    this.attempt = 1;
  }

  // As at the very first: the next attempt doesn't wait.
  reset(): void {
    this.attempt = 0;
  }

  // Don't wait any longer: a button was pressed, the network is back, somebody looks at the page again.
  readonly now = (): void => this.go();

  stop(): void {
    removeEventListener("online", this.now);
    document.removeEventListener("visibilitychange", this.now);
    this.go = () => undefined;
  }
}
