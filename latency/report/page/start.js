const shown = JSON.parse(document.getElementById("shown").textContent);
unpacking.done = unpack().then(() => (document.documentElement.dataset.ready = "true"));
(shown.kind === "compare" ? comparison : report)(shown);
