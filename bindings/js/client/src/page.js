/** Tells of what browsers know and sockets don't: the network came or went, the page woke up. Returns the function that ends it. */
export function watchPage(page, { online, offline, wake }) {
  const visible = () => page.document?.visibilityState !== "hidden" && wake();
  const pairs = [[page, "online", online], [page, "offline", offline], [page, "pageshow", wake],
    [page.document, "visibilitychange", visible]].filter(([target]) => typeof target?.addEventListener === "function");
  for (const [target, name, listener] of pairs) target.addEventListener(name, listener);
  return () => {
    for (const [target, name, listener] of pairs) target.removeEventListener(name, listener);
  };
}

/** False only when the browser is sure that there is no network. */
export function hasNetwork(page) {
  return page.navigator?.onLine !== false;
}
