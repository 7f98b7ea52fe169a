// @ts-check
// One zoom and one middle for all pictures of the stage, told to the style sheet as three numbers.
(function () {
  "use strict";

  const MAX = 16;
  // Smaller than its window is only a picture at its own size.
  const MIN = 1 / 16;
  const CLOSE = 4;
  // From here on a picture's pixels are told apart rather than smoothed.
  const PIXELS = 4;
  const STEP = 1.25;
  // How far an arrow key goes, as a share of what is seen.
  const ARROW = 0.15;
  const CLICK_PX = 4;
  const WHEEL_REST_MS = 250;
  // Browsers refuse a history that is written more than some 100 times in 30 seconds.
  const SETTLE_MS = 250;
  /** @type {Record<string, [number, number]>} */
  const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  /** @param {number} value @param {number} low @param {number} high */
  const within = (value, low, high) => Math.min(high, Math.max(low, value));

  /**
   * The place with its picture filling the window.
   * @param {Place} place
   * @returns {Place}
   */
  function clamped(place) {
    const zoom = within(place.zoom, MIN, MAX);
    const edge = Math.min(0.5, 0.5 / zoom);
    return { zoom, cx: within(place.cx, edge, 1 - edge), cy: within(place.cy, edge, 1 - edge) };
  }

  /**
   * Another zoom, with the point of the picture kept that is at (x, y), shares of the window.
   * @param {Place} place @param {number} zoom @param {number} x @param {number} y
   */
  function zoomed(place, zoom, x, y) {
    const next = within(zoom, Math.min(1, place.zoom), MAX);
    const change = 1 / place.zoom - 1 / next;
    return clamped({
      zoom: next,
      cx: place.cx + (x - 0.5) * change,
      cy: place.cy + (y - 0.5) * change,
    });
  }

  /**
   * The picture moved by shares of the window.
   * @param {Place} place @param {number} dx @param {number} dy
   */
  function moved(place, dx, dy) {
    const { zoom, cx, cy } = place;
    return clamped({ zoom, cx: cx - dx / zoom, cy: cy - dy / zoom });
  }

  /**
   * Two fingers from `before` to `after`: the picture stays under both as far as it can.
   * @param {Place} place @param {Point[]} before @param {Point[]} after shares of the window
   */
  function pinched(place, before, after) {
    const [from, to] = [middle(before), middle(after)];
    const ratio = spread(after) / (spread(before) || 1);
    return moved(zoomed(place, place.zoom * ratio, from.x, from.y), to.x - from.x, to.y - from.y);
  }

  /** @param {Point[]} points @returns {Point} */
  const middle = ([p, q]) => ({ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 });

  /** @param {Point[]} points */
  const spread = ([p, q]) => Math.hypot(p.x - q.x, p.y - q.y);

  /**
   * @param {HTMLElement} stage
   * @param {App} app
   * @param {(zoom: number, real: number) => void} tell `real` is the zoom of one pixel for one
   */
  function attach(stage, app, tell) {
    let place = clamped(app.state);
    let frame = 0;
    let timer = 0;

    /** @param {Place} next */
    function go(next) {
      place = next;
      frame ||= requestAnimationFrame(draw);
    }

    function draw() {
      frame = 0;
      stage.style.setProperty("--zoom", String(place.zoom));
      stage.style.setProperty("--cx", String(place.cx));
      stage.style.setProperty("--cy", String(place.cy));
      stage.toggleAttribute("data-zoomed", place.zoom > 1);
      stage.toggleAttribute("data-pixels", place.zoom >= PIXELS);
      tell(place.zoom, real());
    }

    /** The link follows when the gesture is over. */
    function settle() {
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = 0;
        if (!stage.isConnected || busy()) return;
        const { zoom, cx, cy } = app.state;
        if (place.zoom !== zoom || place.cx !== cx || place.cy !== cy) app.go({ ...place }, { replace: true });
      }, SETTLE_MS);
    }

    /** Larger by a factor; 0 for the whole picture. @param {number} factor */
    function by(factor) {
      go(factor ? zoomed(place, place.zoom * factor, 0.5, 0.5) : clamped({ ...place, zoom: 1 }));
      settle();
    }

    /** The zoom at which a pixel of the picture is one of the screen; 0 where there is no picture. */
    function real() {
      const image = /** @type {HTMLImageElement | null} */ (stage.querySelector(".results img, .pair img"));
      const frame = image?.closest(".window");
      if (!image || !frame) return 0;
      // As `object-fit: contain` lays the full picture, whatever file of it is on screen now.
      const [width, height] = [Number(image.dataset.width) || image.naturalWidth, Number(image.dataset.height) || image.naturalHeight];
      const shown = Math.min(frame.clientWidth / width, frame.clientHeight / height);
      return shown > 0 && Number.isFinite(shown) ? 1 / (shown * window.devicePixelRatio) : 0;
    }

    function toReal() {
      const zoom = real();
      if (!zoom) return;
      go(clamped({ ...place, zoom }));
      settle();
    }

    const busy = watch(stage, () => place, go, settle);
    draw();
    return {
      update() {
        if (!busy() && !timer) go(clamped(app.state));
      },
      by,
      toReal,
      /** Say the zoom again, as after the window has changed. */
      tell: () => tell(place.zoom, real()),
      /** @param {KeyboardEvent} event */
      key(event) {
        const arrow = ARROWS[event.key];
        if (event.key === "+" || event.key === "=") by(STEP);
        else if (event.key === "-") by(1 / STEP);
        else if (event.key === "0") by(0);
        else if (event.key === "z" || event.key === "Z") toReal();
        else if (arrow && place.zoom > 1 && !event.shiftKey) {
          go(moved(place, arrow[0] * ARROW, arrow[1] * ARROW));
          settle();
        } else return false;
        return true;
      },
    };
  }

  /**
   * Wheel, drag, pinch and clicks on a window of the stage; returns whether a gesture is going on.
   * @param {HTMLElement} stage
   * @param {() => Place} where
   * @param {(place: Place) => void} go
   * @param {() => void} settle
   */
  function watch(stage, where, go, settle) {
    /** @type {Map<number, Point>} */
    const fingers = new Map();
    let box = stage.getBoundingClientRect();
    let way = 0;

    /** @param {MouseEvent} event */
    const paneOf = (event) => {
      const target = /** @type {Element} */ (event.target);
      return target.closest("button, a, .handle") ? null : target.closest(".window");
    };
    /** @param {MouseEvent} event @returns {Point} */
    const pointOf = (event) => ({
      x: (event.clientX - box.left) / box.width,
      y: (event.clientY - box.top) / box.height,
    });

    stage.addEventListener("pointerdown", (event) => {
      const pane = paneOf(event);
      if (!pane || event.button) return;
      if (!fingers.size) {
        box = pane.getBoundingClientRect();
        way = 0;
      }
      fingers.set(event.pointerId, pointOf(event));
      // Else what is let go of outside would be held for ever.
      pane.setPointerCapture(event.pointerId);
    });

    stage.addEventListener("pointermove", (event) => {
      const from = fingers.get(event.pointerId);
      if (!from) return;
      const before = [...fingers.values()];
      const to = pointOf(event);
      fingers.set(event.pointerId, to);
      way += Math.hypot((to.x - from.x) * box.width, (to.y - from.y) * box.height);
      if (fingers.size === 1) go(moved(where(), to.x - from.x, to.y - from.y));
      else go(pinched(where(), before, [...fingers.values()]));
    });

    /** @param {PointerEvent} event */
    function lift(event) {
      if (!fingers.delete(event.pointerId) || fingers.size) return;
      // A click moves what is clicked to the middle, for whoever cannot drag.
      if (event.type === "pointerup" && way < CLICK_PX && where().zoom > 1) {
        const { x, y } = pointOf(event);
        go(moved(where(), 0.5 - x, 0.5 - y));
      }
      settle();
    }
    stage.addEventListener("pointerup", lift);
    stage.addEventListener("pointercancel", lift);
    stage.addEventListener("lostpointercapture", lift);

    stage.addEventListener("dblclick", (event) => {
      const pane = paneOf(event);
      if (!pane) return;
      box = pane.getBoundingClientRect();
      const { x, y } = pointOf(event);
      go(zoomed(where(), where().zoom > 1 ? 1 : CLOSE, x, y));
      settle();
    });

    wheel(stage, (event) => {
      const pane = paneOf(event);
      if (!pane || fingers.size) return;
      box = pane.getBoundingClientRect();
      const { x, y } = pointOf(event);
      const lines = event.deltaMode ? 16 : 1;
      const factor = Math.exp(-within(event.deltaY * lines, -60, 60) * (event.ctrlKey ? 0.01 : 0.004));
      go(zoomed(where(), where().zoom * factor, x, y));
      settle();
    }, () => where().zoom > 1);

    return () => fingers.size > 0;
  }

  /**
   * The wheel zooms, but scrolls where a whole picture can only be made smaller, and goes on with
   * what it does until it rests.
   * @param {HTMLElement} stage
   * @param {(event: WheelEvent) => void} zoom
   * @param {() => boolean} isZoomed
   */
  function wheel(stage, zoom, isZoomed) {
    const scroller = stage.closest("dialog") || stage;
    let last = 0;
    let zooms = false;
    stage.addEventListener(
      "wheel",
      (event) => {
        const rested = event.timeStamp - last > WHEEL_REST_MS;
        last = event.timeStamp;
        if (rested) zooms = isZoomed() || (event.deltaY < 0 && scroller.scrollTop < 1);
        if (!zooms && !event.ctrlKey) return;
        event.preventDefault();
        if (event.deltaY) zoom(event);
      },
      { passive: false },
    );
  }

  NST.zoom = { attach, clamped, zoomed, moved, pinched };
})();
