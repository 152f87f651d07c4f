() => {
    // Ratio of the luminances of each text and of what is painted under it (WCAG 2.1, 1.4.3).
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const painted = (layers) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of layers) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => {
        const [r, g, b] = rgb.map((x) => x / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    const root = document.querySelector("dialog[open]") ?? document.body;
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true })) continue;
        if (element.closest(".hidden, :disabled, noscript")) continue;
        const style = getComputedStyle(element);
        const under = [];
        for (let x = element; x; x = x.parentElement) under.unshift(getComputedStyle(x).backgroundColor);
        under.unshift("white");
        const ink = element instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [luminance(painted(under)), luminance(painted([...under, ink]))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${texts.currentNode.data.slice(0, 30)}`);
    }
    return found;
}
