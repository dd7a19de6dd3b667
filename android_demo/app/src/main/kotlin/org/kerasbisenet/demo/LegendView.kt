package org.kerasbisenet.demo

import android.content.Context
import android.graphics.drawable.GradientDrawable
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup
import android.widget.CheckBox
import org.kerasbisenet.demo.core.ClassLabel
import org.kerasbisenet.demo.core.OPAQUE
import org.kerasbisenet.demo.core.VOID
import org.kerasbisenet.demo.core.shareText

/**
 * The classes that were seen, in the order of their ids, so that none jumps about while the shares
 * change; each is a box to show or hide it in the overlay. They flow like words in a text.
 */
class LegendView @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) : ViewGroup(context, attributes) {
    var onToggle: (id: Int, shown: Boolean) -> Unit = { _, _ -> }
    private val boxes = sortedMapOf<Int, CheckBox>()
    private val gap = resources.getDimensionPixelSize(R.dimen.legend_gap)

    /** [shares] by class id, 0 for classes that are not in the picture. */
    fun show(classes: List<ClassLabel>, shares: (Int) -> Double, isShown: (Int) -> Boolean) {
        for (id in classes.indices + VOID) {
            val share = shares(id)
            if (share == 0.0 && id !in boxes) continue
            val label = classes.getOrNull(id) ?: ClassLabel(context.getString(R.string.class_void), 0)
            val box = boxes.getOrPut(id) { newBox(id, label, isShown(id)) }
            val text = shareText(label.name, share.takeIf { it > 0 })
            if (box.text.toString() != text) box.text = text
            box.alpha = if (share > 0) 1f else 0.55f
        }
    }

    fun clear() {
        boxes.clear()
        removeAllViews()
    }

    private fun newBox(id: Int, label: ClassLabel, shown: Boolean) = CheckBox(context).apply {
        isChecked = shown
        isEnabled = id != VOID // void has no colour to hide
        minHeight = resources.getDimensionPixelSize(R.dimen.touch)
        compoundDrawablePadding = gap
        setCompoundDrawablesRelativeWithIntrinsicBounds(swatch(label.color), null, null, null)
        setOnCheckedChangeListener { _, checked -> onToggle(id, checked) }
        this@LegendView.addView(this, boxes.headMap(id).size)
    }

    private fun swatch(color: Int) = GradientDrawable().apply {
        val side = resources.getDimensionPixelSize(R.dimen.swatch)
        setSize(side, side)
        setColor(OPAQUE or color)
        setStroke(1, context.getColor(R.color.swatch_edge))
    }

    override fun onMeasure(widthSpec: Int, heightSpec: Int) {
        val width = MeasureSpec.getSize(widthSpec)
        measureChildren(MeasureSpec.makeMeasureSpec(width, MeasureSpec.AT_MOST), MeasureSpec.UNSPECIFIED)
        setMeasuredDimension(width, resolveSize(flow(width) { _, _, _ -> }, heightSpec))
    }

    override fun onLayout(changed: Boolean, left: Int, top: Int, right: Int, bottom: Int) {
        flow(right - left) { child, x, y -> child.layout(x, y, x + child.measuredWidth, y + child.measuredHeight) }
    }

    /** Tells [place] where each child belongs; returns the height of all. */
    private fun flow(width: Int, place: (View, Int, Int) -> Unit): Int {
        val isMirrored = layoutDirection == LAYOUT_DIRECTION_RTL
        var (x, y, line) = Triple(0, 0, 0)
        for (child in (0 until childCount).map(::getChildAt)) {
            if (x > 0 && x + child.measuredWidth > width) {
                x = 0
                y += line
                line = 0
            }
            place(child, if (isMirrored) width - x - child.measuredWidth else x, y)
            x += child.measuredWidth + gap
            line = maxOf(line, child.measuredHeight)
        }
        return y + line
    }
}
