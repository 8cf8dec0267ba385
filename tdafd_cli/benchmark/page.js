"use strict";
(() => {
  const slices = [...document.querySelectorAll(".slices")];
  if (!slices.length) return;
  document.documentElement.classList.add("js");
  const byId = (name) => document.getElementById(name);
  const slice = byId("slice"), left = byId("left"), right = byId("right");
  const stage = byId("stage"), position = byId("position"), flicker = byId("flicker");
  const over = byId("over"), under = byId("under"), divider = byId("divider");
  let timer = null;

  const figures = () => [...slices[slice.value].querySelectorAll("figure")];
  const chosen = (menu) => figures().find((figure) => figure.dataset.method === menu.value);

  function fill(menu, wanted) {
    const names = figures().map((figure) => figure.dataset.method);
    const kept = names.includes(menu.value) ? menu.value : wanted(names);
    menu.replaceChildren(...names.map((name) => new Option(name, name)));
    menu.value = kept;
  }

  function move() {
    const percent = Number(position.value);
    over.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    divider.style.left = `${percent}%`;
  }

  function show() {
    const aspect = Number(slices[slice.value].dataset.aspect);
    stage.style.width = `min(100%, ${Math.round(560 * Math.min(1.3, aspect))}px)`;
    stage.style.aspectRatio = aspect;
    over.src = chosen(left).querySelector("img").src;
    under.src = chosen(right).querySelector("img").src;
    byId("leftname").textContent = left.value;
    byId("rightname").textContent = right.value;
    slices.forEach((group, index) => group.classList.toggle("hidden", index !== Number(slice.value)));
    move();
  }

  function choose() {
    fill(left, (names) => names[names.length - 1]);
    fill(right, (names) => names[0]);
    show();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    over.style.visibility = "visible";
    divider.style.visibility = "visible";
    flicker.setAttribute("aria-pressed", "false");
    move();
  }

  function toggle() {
    if (timer) return stop();
    flicker.setAttribute("aria-pressed", "true");
    over.style.clipPath = "none";
    divider.style.visibility = "hidden";
    timer = setInterval(() => {
      over.style.visibility = over.style.visibility === "hidden" ? "visible" : "hidden";
    }, 600);
  }

  function drag(event) {
    if (timer || (event.type === "pointermove" && !event.buttons)) return;
    const box = stage.getBoundingClientRect();
    position.value = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    move();
  }

  slice.addEventListener("change", choose);
  left.addEventListener("change", show);
  right.addEventListener("change", show);
  position.addEventListener("input", () => { if (timer) stop(); move(); });
  flicker.addEventListener("click", toggle);
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  choose();
})();
